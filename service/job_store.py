"""Jobs on the disk: a folder for each, which outlives the process.

<folder>/<id>/job.json       what was asked for; written with the files, whole or not at all
              image, mask    the files of the request, until the job has ended
              attempts       how often it was begun and never came to an end, orderly or not
              result         the finished image
              outcome.json   how the job ended; there exactly if it has
"""

import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.durable import replace_file, write_folder
from service.body import Body
from service.briefs import Brief
from service.errors import ServiceError, kinds
from service.results import Result
from service.trace_context import TraceContext

JOB, IMAGE, MASK, ATTEMPTS = "job.json", "image", "mask", "attempts"
RESULT, OUTCOME = "result", "outcome.json"

logger = logging.getLogger(__name__)


class Record(BaseModel):
    """What a job was asked for."""

    model_config = ConfigDict(frozen=True)

    id: str
    brief: Brief
    fingerprint: str
    """Equal exactly where brief and image are."""
    request_id: str
    """Of the request that gave it."""
    context: TraceContext | None = None
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Failed(BaseModel):
    """A problem, so that it can be answered again."""

    model_config = ConfigDict(frozen=True)

    kind: str
    detail: str
    members: dict[str, Any] = {}

    @classmethod
    def of(cls, failure: ServiceError) -> Self:
        """What of a failure is the client's to know."""
        return cls(kind=failure.kind, detail=failure.detail, members=failure.members)

    def error(self) -> ServiceError:
        """The failure as it was, to be raised."""
        kind = next((kind for kind in kinds() if kind.kind == self.kind), ServiceError)
        failure = kind.__new__(kind)
        ServiceError.__init__(failure, self.detail, **self.members)
        return failure


class Outcome(BaseModel):
    """How a job ended: with a result, or with a failure."""

    model_config = ConfigDict(frozen=True)

    started: datetime | None = None
    finished: datetime = Field(default_factory=lambda: datetime.now(UTC))
    tiles: int = 0
    result: Result | None = None
    failure: Failed | None = None


class JobStore:
    """The folder of one service. Every method does its work on the disk; the event loop is no place for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the folder is this service's."""
        return self._lock is not None

    def exists(self) -> bool:
        """Whether there is a folder, perhaps with jobs of an earlier process."""
        return self._folder.exists()

    def open(self) -> None:
        """Create the folder, and keep others out; raises OSError where either is impossible."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        self._lock = descriptor

    def close(self) -> None:
        """Let others in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> Iterator[tuple[Record, Outcome | None]]:
        """Every job of the folder, the oldest first. What cannot be read is left there and logged."""
        found = []
        for folder in self._folder.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                with suppress(OSError):
                    found.append((folder.stat().st_mtime, folder))
        jobs = [job for _, folder in sorted(found) if (job := _read(folder)) is not None]
        yield from sorted(jobs, key=lambda job: job[0].created)

    def create(self, record: Record, body: Body) -> None:
        """Keep a new job, whole or not at all."""
        files = {JOB: record.model_dump_json().encode(), IMAGE: body.image}
        write_folder(self._folder / record.id, files | ({MASK: body.mask} if body.mask is not None else {}))

    def body(self, job: str) -> Body:
        """The files that a job is to be made of."""
        image, mask = self._folder / job / IMAGE, self._folder / job / MASK
        return Body(image.read_bytes(), mask.read_bytes() if mask.exists() else None)

    def result(self, job: str) -> bytes:
        """The image that a job has made."""
        return (self._folder / job / RESULT).read_bytes()

    def begin(self, job: str) -> int:
        """Note that a job is begun; how often it was begun before without an end."""
        path = self._folder / job / ATTEMPTS
        before = int(path.read_text()) if path.exists() else 0
        replace_file(path, str(before + 1).encode())
        return before

    def interrupt(self, job: str) -> None:
        """Note that a job was not to blame for its end: it will be begun again as if for the first time."""
        (self._folder / job / ATTEMPTS).unlink(missing_ok=True)

    def finish(self, job: str, outcome: Outcome, content: bytes = b"") -> None:
        """Keep the end of a job, and its image no longer."""
        folder = self._folder / job
        if outcome.result is not None:
            replace_file(folder / RESULT, content)
        replace_file(folder / OUTCOME, outcome.model_dump_json().encode())
        for name in (IMAGE, MASK):
            (folder / name).unlink(missing_ok=True)

    def remove(self, job: str) -> None:
        """Forget a job, whole or not at all."""
        gone = self._folder / f".{job}.{secrets.token_hex(4)}"
        (self._folder / job).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def size(self, job: str) -> int:
        """Bytes that a job takes; none where somebody has removed it."""
        return sum(file.stat().st_size for file in (self._folder / job).glob("*"))


def _read(folder: Path) -> tuple[Record, Outcome | None] | None:
    try:
        record = Record.model_validate_json((folder / JOB).read_bytes())
        outcome = folder / OUTCOME
        return record, Outcome.model_validate_json(outcome.read_bytes()) if outcome.exists() else None
    except (OSError, ValidationError):
        logger.exception("%s is no job; it is left as it is", folder)
        return None
