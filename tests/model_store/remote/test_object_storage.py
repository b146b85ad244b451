import http.server
import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from model_store.errors import MissingExtra, StoreAway, StoreError
from model_store.remote.object_storage import ObjectStorage, TransferPolicy
from tests.buckets import Bucket, Fault, s3_server, stuck, truncated, unavailable

QUICK = TransferPolicy(attempts=3, first_pause=0.001)


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with s3_server() as bucket:
        bucket.create()
        bucket.write("store/file", b"content of the file")
        yield bucket


@pytest.mark.parametrize("fault", [unavailable, truncated])
def test_passing_fault_is_tried_again(server: Bucket, fault: Fault) -> None:
    server.faults = [("GET /bucket/store/file", fault), ("GET /bucket/store/file", fault)]
    assert ObjectStorage("s3://bucket/store", QUICK).read("file", 19) == b"content of the file"
    assert server.faults == []


def test_lasting_fault_is_reported(server: Bucket) -> None:
    with pytest.raises(StoreAway, match=r"s3://bucket/store does not answer for file: OSError: truncated: 19 of 20"):
        ObjectStorage("s3://bucket/store", QUICK).read("file", 20)


def test_answer_that_does_not_come_is_not_waited_for(server: Bucket) -> None:
    go_on = threading.Event()
    server.faults = [("GET /bucket/store/file", stuck(go_on))]
    impatient = TransferPolicy(attempts=1, seconds=0.05)
    try:
        with pytest.raises(StoreAway, match="Timeout"):
            ObjectStorage("s3://bucket/store", impatient).read("file")
    finally:
        go_on.set()


def test_first_file_that_comes_while_files_are_listed_is_no_fault(server: Bucket) -> None:
    def publish(body: Iterable[bytes], _: list[tuple[str, str]]) -> tuple[None, Iterable[bytes]]:
        server.write("new/wave/1/manifest.json", b"{}")
        return None, body

    server.faults = [("GET /bucket", publish)]
    storage = ObjectStorage("s3://bucket/new", QUICK)
    assert storage.files() == []
    assert server.faults == []
    assert [file.path for file in storage.files()] == ["wave/1/manifest.json"]


def test_file_that_was_written_since_it_was_listed_is_not_deleted(tmp_path: Path) -> None:
    storage = ObjectStorage(f"file://{tmp_path}")
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"of a killed publisher")
    os.utime(file, (10**9, 10**9))
    [killed] = storage.files()
    assert storage.delete(killed)
    assert not file.exists()
    file.write_bytes(b"of one that lives")
    assert not storage.delete(killed)
    assert file.read_bytes() == b"of one that lives"


def test_missing_file_is_no_fault(server: Bucket) -> None:
    with pytest.raises(FileNotFoundError):
        ObjectStorage("s3://bucket/store", QUICK).read("other")
    with pytest.raises(FileNotFoundError):
        ObjectStorage("s3://elsewhere/store", QUICK).etag("file")


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A web server that answers everything with a status; yields its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 # the name that http.server wants

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/store"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [404, 410])
def test_file_that_a_web_server_has_not_is_missing(status: int) -> None:
    with answering(status) as url, pytest.raises(FileNotFoundError):
        ObjectStorage(url, QUICK).etag("index.json")


@pytest.mark.parametrize("status", [403, 500, 503])
def test_web_server_that_refuses_does_not_answer(status: int) -> None:
    with answering(status) as url, pytest.raises(StoreAway, match=f"does not answer for index.json: .*{status}"):
        ObjectStorage(url, QUICK).etag("index.json")


def test_web_server_that_hangs_up_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with suppress(OSError):  # it is closed
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/store"
        with pytest.raises(StoreAway, match=r"does not answer for index.json: (Server|Client)"):
            ObjectStorage(url, QUICK).etag("index.json")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_web_server_that_is_not_there_does_not_answer() -> None:
    with answering(200) as url:
        pass
    with pytest.raises(StoreAway, match=r"store does not answer for index.json: ClientConnector.*Cannot connect"):
        ObjectStorage(url, QUICK).etag("index.json")


def test_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pastiche\[stores-gs\]'"):
        ObjectStorage("gs://bucket/store")
    with pytest.raises(StoreError, match="nowhere://store is no store"):
        ObjectStorage("nowhere://store")
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(MissingExtra, match=r"a store at sftp:// needs a library: .*paramiko"):
        ObjectStorage("sftp://host/store")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.delitem(sys.modules, "fsspec.core")
    with pytest.raises(MissingExtra, match=r"a store at ftp:// needs the extra stores: "):
        ObjectStorage("ftp://host/store")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1/store", "zip://none/store", "reference://store"])
def test_store_that_cannot_be_opened_is_named(url: str) -> None:
    with pytest.raises(StoreAway, match=f"the store {url} cannot be opened: "):
        ObjectStorage(url)


def test_writing_is_tried_in_folders_alone(tmp_path: Path) -> None:
    storage = ObjectStorage(f"file://{tmp_path}/store")
    storage.try_writing("wave")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "store").touch()
    with pytest.raises(NotADirectoryError, match="store/wave"):
        storage.try_writing("wave")
    ObjectStorage("memory://untouched").try_writing("wave")
    assert ObjectStorage("memory://untouched").files() == []
