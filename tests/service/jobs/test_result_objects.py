import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.errors import StoreAway, StoreError
from model_store.remote.object_storage import TransferPolicy
from service.jobs.result_objects import ResultObjects
from tests.buckets import Bucket, Fault, s3_server, stuck, truncated, unavailable

QUICK = TransferPolicy(attempts=2, first_pause=0.001)
PATH = "/bucket/results/one"
IMAGE = b"painted" * 1000


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with s3_server() as bucket:
        bucket.create()
        yield bucket


@pytest.fixture
def bucket(server: Bucket) -> Iterator[Bucket]:
    server.write("results/one", IMAGE)
    yield server
    server.faults.clear()


def s3(policy: TransferPolicy = QUICK) -> ResultObjects:
    return ResultObjects("s3://bucket/results", policy)


def test_object_is_read_as_it_was_written_until_it_is_deleted(tmp_path: Path) -> None:
    objects = ResultObjects(f"file://{tmp_path}/shared/results")
    objects.write("one", b"painted")
    assert objects.read("one") == b"painted"
    assert (tmp_path / "shared" / "results" / "one").read_bytes() == b"painted"
    objects.remove("one")
    objects.remove("one")
    with pytest.raises(FileNotFoundError):
        objects.read("one")


def test_bucket_holds_an_object_until_it_is_deleted(bucket: Bucket) -> None:
    s3().write("two", b"first")
    s3().write("two", IMAGE)  # as a replica does that lost the answer to its first attempt
    assert bucket.read("results/two") == s3().read("two") == IMAGE
    s3().remove("two")
    s3().remove("two")
    with pytest.raises(FileNotFoundError):
        s3().read("two")


@pytest.mark.parametrize("fault", [unavailable, truncated])
def test_passing_fault_of_a_read_is_tried_again(bucket: Bucket, fault: Fault) -> None:
    bucket.faults = [(f"GET {PATH}", fault)]
    assert s3().read("one") == IMAGE
    assert bucket.faults == []


def test_passing_fault_of_a_write_or_a_deletion_is_tried_again(bucket: Bucket) -> None:
    bucket.faults = [(f"PUT {PATH}", unavailable), (f"DELETE {PATH}", unavailable)]
    s3().write("one", b"other")
    assert bucket.read("results/one") == b"other"
    s3().remove("one")
    assert bucket.faults == []
    with pytest.raises(FileNotFoundError):
        s3().read("one")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_bucket_that_does_not_answer_is_not_waited_for(bucket: Bucket, method: str) -> None:
    go_on = threading.Event()
    bucket.faults = [(f"{method} {PATH}", stuck(go_on))]
    objects = s3(TransferPolicy(attempts=1, seconds=0.05))
    actions: dict[str, Callable[[], object]] = {
        "GET": lambda: objects.read("one"),
        "PUT": lambda: objects.write("one", b""),
        "DELETE": lambda: objects.remove("one"),
    }
    try:
        with pytest.raises(StoreAway, match=r"s3://bucket/results does not answer for one: .*Timeout"):
            actions[method]()
    finally:
        go_on.set()


def test_bucket_that_is_not_there_is_a_fault_of_writes(bucket: Bucket) -> None:
    with pytest.raises(StoreAway, match="no bucket"):
        ResultObjects("s3://elsewhere/results", QUICK).write("one", b"")


def test_url_that_nothing_speaks_with_is_refused() -> None:
    with pytest.raises(StoreError, match="nowhere"):
        ResultObjects("nowhere://bucket")
