from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from model_store.errors import ReadOnlyStore, WriteConflict
from model_store.remote.conditional_writes import StoredFile, find_write
from model_store.remote.object_storage import ObjectStorage
from tests.buckets import Bucket, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with s3_server() as bucket:
        bucket.create()
        yield bucket


@pytest.mark.parametrize("scheme", ["s3", "file", "memory"])
def test_write_succeeds_only_over_what_was_read(scheme: str, server: Bucket, tmp_path: Path) -> None:
    fsspec.filesystem("memory").store.clear()
    places = {"s3": "s3://bucket/store", "file": f"file://{tmp_path}/store", "memory": "memory://store"}
    storage = ObjectStorage(places[scheme])
    storage.write("index.json", b"one", None)
    with pytest.raises(WriteConflict, match="another publisher"):
        storage.write("index.json", b"other", None)
    first = StoredFile(storage.read("index.json"), storage.etag("index.json"))
    storage.write("index.json", b"two", first)
    with pytest.raises(WriteConflict, match="another publisher"):
        storage.write("index.json", b"three", first)
    assert storage.read("index.json") == b"two"


@pytest.mark.parametrize("scheme", ["https", "hf", "gs"])
def test_where_there_are_no_safe_writes_the_store_is_read_only(scheme: str) -> None:
    with pytest.raises(ReadOnlyStore, match=f"{scheme}:// can only be read: fsspec has no conditional writes there"):
        find_write(f"{scheme}://host/store")


def test_file_without_an_etag_is_not_replaced(server: Bucket) -> None:
    with pytest.raises(ReadOnlyStore, match="no ETag"):
        ObjectStorage("s3://bucket/store").write("index.json", b"two", StoredFile(b"one", None))


def test_a_write_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(WriteConflict, match="another publisher"):
        ObjectStorage(f"file://{tmp_path}/store").write("wave/1/golden", b"two", StoredFile(b"one", None))
    assert list(tmp_path.iterdir()) == []
