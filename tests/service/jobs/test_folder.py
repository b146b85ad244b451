import errno
from pathlib import Path

import pytest

from service.jobs.folder import JobFolder
from service.jobs.record import Delivery, DeliveryState, JobOutcome
from service.pipeline.requests import InputFiles
from tests.service.jobs.test_record import RESULT, record


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "jobs")
    folder.open()
    return folder


def test_job_is_read_as_it_was_written(folder: JobFolder, tmp_path: Path) -> None:
    folder.create(record("one"), InputFiles(b"image", b"mask"))
    folder.create(record("two"), InputFiles(b"image"))
    assert folder.files("one") == InputFiles(b"image", b"mask")
    assert folder.files("two") == InputFiles(b"image")
    again = JobFolder(tmp_path / "jobs")
    assert [(found.id, found.request, outcome) for found, outcome in again.load()] == [
        (name, record(name).request, None) for name in ("one", "two")
    ]


def test_ended_job_has_its_result_and_no_input_files(folder: JobFolder, tmp_path: Path) -> None:
    folder.create(record("one"), InputFiles(b"image", b"mask"))
    folder.finish("one", JobOutcome(result=RESULT, tiles=7), b"bytes")
    assert folder.result("one") == b"bytes"
    assert sorted(path.name for path in (tmp_path / "jobs" / "one").iterdir()) == ["job.json", "outcome.json", "result"]
    ((_, outcome),) = folder.load()
    assert outcome is not None
    assert (outcome.result, outcome.tiles) == (RESULT, 7)


def test_job_that_cannot_be_read_for_want_of_descriptors_is_not_left_out(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    folder.create(record("one"), InputFiles(b"image"))
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Too many open files"):
        list(folder.load())


def test_attempts_are_counted_until_the_service_was_to_blame(folder: JobFolder) -> None:
    folder.create(record("one"), InputFiles(b"image"))
    assert [folder.begin("one") for _ in range(3)] == [0, 1, 2]
    folder.interrupt("one")
    assert folder.begin("one") == 2


def test_removed_job_is_gone(folder: JobFolder) -> None:
    folder.create(record("one"), InputFiles(b"image"))
    assert folder.size("one") > len(b"image")
    folder.remove("one")
    assert list(folder.load()) == []
    assert folder.size("one") == 0
    with pytest.raises(FileNotFoundError):
        folder.result("one")


def test_folder_belongs_to_one_store_at_a_time(folder: JobFolder, tmp_path: Path) -> None:
    other = JobFolder(tmp_path / "jobs")
    with pytest.raises(OSError, match="another service uses it"):
        other.open()
    assert (folder.is_open, other.is_open) == (True, False)
    folder.close()
    other.open()
    assert (folder.is_open, other.is_open) == (False, True)
    other.close()


def test_delivery_of_a_webhook_is_kept_and_begun_again_where_unreadable(folder: JobFolder, tmp_path: Path) -> None:
    folder.create(record("one"), InputFiles(b"image"))
    assert folder.delivery("one").state is DeliveryState.PENDING
    given_up = Delivery(state=DeliveryState.FAILED, attempts=3)
    folder.write_delivery("one", given_up)
    assert folder.delivery("one") == given_up
    (tmp_path / "jobs" / "one" / "delivery.json").write_text("{")
    assert (folder.delivery("one").state, folder.delivery("one").attempts) == (DeliveryState.PENDING, 0)


def test_foreign_link_in_the_folder_of_a_job_does_not_count(folder: JobFolder, tmp_path: Path) -> None:
    folder.create(record("one"), InputFiles(b"image"))
    size = folder.size("one")
    (tmp_path / "jobs" / "one" / "link").symlink_to("nowhere")
    assert folder.size("one") == size


def test_trial_of_writing_leaves_nothing(tmp_path: Path) -> None:
    JobFolder(tmp_path).try_writing(1000)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        JobFolder(tmp_path / "none").try_writing(1000)
