"""Jobs on disk: a folder for each, which outlives the process.

<folder>/<id>/job.json       the request; written with its files, whole or not at all
              image, mask    the files of the request, until the job has ended
              attempts       how often it was begun without an end
              result         the finished image
              outcome.json   how the job ended; absent until then
              delivery.json  how far the delivery of its webhook is; absent until the first attempt
"""

import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import ValidationError

from model_store.durable import replace_file, write_folder
from service.errors import OutOfResources
from service.jobs.record import Delivery, JobOutcome, JobRecord
from service.pipeline.requests import InputFiles

JOB, IMAGE, MASK, ATTEMPTS = "job.json", "image", "mask", "attempts"
RESULT, OUTCOME, DELIVERY = "result", "outcome.json", "delivery.json"

logger = logging.getLogger(__name__)


class JobFolder:
    """The jobs folder of one service. Its methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether this service holds the folder's lock."""
        return self._lock is not None

    def exists(self) -> bool:
        """Whether the folder exists; an earlier process may have left jobs in it."""
        return self._folder.exists()

    def open(self) -> None:
        """Create the folder and lock it. Raises OSError where that is impossible, or another service has locked it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise BlockingIOError(error.errno, "another service uses it") from error
        except OSError:
            os.close(descriptor)
            raise
        self._lock = descriptor

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> Iterator[tuple[JobRecord, JobOutcome | None]]:
        """Every job of the folder, the oldest first. A folder that cannot be read is logged and left as it is.

        Raises OSError where the system lacks resources, such as descriptors.
        """
        found = []
        for folder in self._folder.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                with suppress(FileNotFoundError):
                    found.append((folder.stat().st_mtime, folder))
        jobs = [job for _, folder in sorted(found) if (job := _read(folder)) is not None]
        yield from sorted(jobs, key=lambda job: job[0].created)

    def create(self, record: JobRecord, files: InputFiles) -> None:
        """Write a new job, whole or not at all."""
        contents = {JOB: record.model_dump_json().encode(), IMAGE: files.image}
        write_folder(self._folder / record.id, contents | ({MASK: files.mask} if files.mask is not None else {}))

    def try_writing(self, size: int) -> None:
        """Raise OSError where a file of so many bytes could not be written. Leaves no trace."""
        with TemporaryFile(dir=self._folder) as trial:
            trial.write(bytes(size))
            trial.flush()
            os.fsync(trial.fileno())

    def files(self, job: str) -> InputFiles:
        """The files of a job's request."""
        image, mask = self._folder / job / IMAGE, self._folder / job / MASK
        return InputFiles(image.read_bytes(), mask.read_bytes() if mask.exists() else None)

    def result(self, job: str) -> bytes:
        """The finished image of a job. Raises FileNotFoundError where the job was removed."""
        return (self._folder / job / RESULT).read_bytes()

    def begin(self, job: str) -> int:
        """Count an attempt at a job. Returns how many there were before that never ended."""
        path = self._folder / job / ATTEMPTS
        before = int(path.read_text()) if path.exists() else 0
        replace_file(path, str(before + 1).encode())
        return before

    def interrupt(self, job: str) -> None:
        """Forget the last attempt at a job: the service was stopped, and the job was not to blame."""
        path = self._folder / job / ATTEMPTS
        replace_file(path, str(max(0, int(path.read_text()) - 1)).encode())

    def finish(self, job: str, outcome: JobOutcome, content: bytes = b"") -> None:
        """Write how a job ended, with its finished image, and delete its input files."""
        folder = self._folder / job
        if outcome.result is not None:
            replace_file(folder / RESULT, content)
        replace_file(folder / OUTCOME, outcome.model_dump_json().encode())
        for name in (IMAGE, MASK):
            (folder / name).unlink(missing_ok=True)

    def delivery(self, job: str) -> Delivery:
        """How far the delivery of a job's webhook is. Where that cannot be read it is begun again."""
        try:
            return Delivery.model_validate_json((self._folder / job / DELIVERY).read_bytes())
        except FileNotFoundError:
            return Delivery()
        except (OSError, ValidationError):
            logger.exception("job %s: the state of its webhook cannot be read", job)
            return Delivery()

    def write_delivery(self, job: str, delivery: Delivery) -> None:
        """Write how far the delivery of a job's webhook is. Raises FileNotFoundError where the job was removed."""
        replace_file(self._folder / job / DELIVERY, delivery.model_dump_json().encode())

    def remove(self, job: str) -> None:
        """Delete a job, whole or not at all."""
        gone = self._folder / f".{job}.{secrets.token_hex(4)}"
        (self._folder / job).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def size(self, job: str) -> int:
        """Bytes of a job's files; 0 where the job was removed. What is no file of ours does not count."""
        return sum(file.stat().st_size for file in (self._folder / job).glob("*") if file.is_file())


def _read(folder: Path) -> tuple[JobRecord, JobOutcome | None] | None:
    try:
        record = JobRecord.model_validate_json((folder / JOB).read_bytes())
        outcome = folder / OUTCOME
        return record, JobOutcome.model_validate_json(outcome.read_bytes()) if outcome.exists() else None
    except (OSError, ValidationError) as error:
        if OutOfResources.of(error) is not None:
            raise
        logger.exception("%s is no job of this version; it is left as it is", folder)
        return None
