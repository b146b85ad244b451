import sys
import threading
from collections.abc import Iterator

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


def test_missing_file_is_no_fault(server: Bucket) -> None:
    with pytest.raises(FileNotFoundError):
        ObjectStorage("s3://bucket/store", QUICK).read("other")
    with pytest.raises(FileNotFoundError):
        ObjectStorage("s3://elsewhere/store", QUICK).etag("file")


def test_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pastiche\[stores-gs\]'"):
        ObjectStorage("gs://bucket/store")
    with pytest.raises(StoreError, match="nowhere://store is no store"):
        ObjectStorage("nowhere://store")
