from pathlib import Path

import pytest

from service.jobs.record import Delivery, DeliveryState, JobOutcome
from service.jobs.store import JobStore
from service.pipeline.requests import InputFiles
from tests.service.jobs.test_record import RESULT, record


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    store = JobStore(tmp_path / "jobs")
    store.open()
    return store


def test_job_is_read_as_it_was_written(store: JobStore, tmp_path: Path) -> None:
    store.create(record("one"), InputFiles(b"image", b"mask"))
    store.create(record("two"), InputFiles(b"image"))
    assert store.files("one") == InputFiles(b"image", b"mask")
    assert store.files("two") == InputFiles(b"image")
    again = JobStore(tmp_path / "jobs")
    assert [(found.id, found.request, outcome) for found, outcome in again.load()] == [
        (name, record(name).request, None) for name in ("one", "two")
    ]


def test_ended_job_has_its_result_and_no_input_files(store: JobStore, tmp_path: Path) -> None:
    store.create(record("one"), InputFiles(b"image", b"mask"))
    store.finish("one", JobOutcome(result=RESULT, tiles=7), b"bytes")
    assert store.result("one") == b"bytes"
    assert sorted(path.name for path in (tmp_path / "jobs" / "one").iterdir()) == ["job.json", "outcome.json", "result"]
    ((_, outcome),) = store.load()
    assert outcome is not None
    assert (outcome.result, outcome.tiles) == (RESULT, 7)


def test_attempts_are_counted_until_the_service_was_to_blame(store: JobStore) -> None:
    store.create(record("one"), InputFiles(b"image"))
    assert [store.begin("one") for _ in range(3)] == [0, 1, 2]
    store.interrupt("one")
    assert store.begin("one") == 0


def test_removed_job_is_gone(store: JobStore) -> None:
    store.create(record("one"), InputFiles(b"image"))
    assert store.size("one") > len(b"image")
    store.remove("one")
    assert list(store.load()) == []
    assert store.size("one") == 0
    with pytest.raises(FileNotFoundError):
        store.result("one")


def test_folder_belongs_to_one_store_at_a_time(store: JobStore, tmp_path: Path) -> None:
    other = JobStore(tmp_path / "jobs")
    with pytest.raises(OSError, match="temporarily unavailable"):
        other.open()
    assert (store.is_open, other.is_open) == (True, False)
    store.close()
    other.open()
    assert (store.is_open, other.is_open) == (False, True)
    other.close()


def test_delivery_of_a_webhook_is_kept_and_begun_again_where_it_is_unreadable(store: JobStore, tmp_path: Path) -> None:
    store.create(record("one"), InputFiles(b"image"))
    assert store.delivery("one").state is DeliveryState.PENDING
    given_up = Delivery(state=DeliveryState.FAILED, attempts=3)
    store.write_delivery("one", given_up)
    assert store.delivery("one") == given_up
    (tmp_path / "jobs" / "one" / "delivery.json").write_text("{")
    assert (store.delivery("one").state, store.delivery("one").attempts) == (DeliveryState.PENDING, 0)


def test_foreign_link_in_the_folder_of_a_job_does_not_count(store: JobStore, tmp_path: Path) -> None:
    store.create(record("one"), InputFiles(b"image"))
    size = store.size("one")
    (tmp_path / "jobs" / "one" / "link").symlink_to("nowhere")
    assert store.size("one") == size
