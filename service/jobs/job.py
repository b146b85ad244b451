"""A job: a request that is carried out in the background, and kept until its result has expired."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from service.jobs.record import JobOutcome, JobProgress, JobRecord


def owned_id(owner: str, job_id: str) -> str:
    """The id under which a job of that owner is kept, to which no id of another is equal.

    `owner` is empty for clients without a key. Neither owners nor ids that clients choose have an `@`.
    """
    return f"{owner}@{job_id}" if owner else job_id


def public_id(job_id: str) -> str:
    """The id that the owner of a job knows."""
    return job_id.rpartition("@")[2]


@dataclass(frozen=True)
class Owner:
    """Whose job it is."""

    name: str = ""
    most_unfinished: int | None = None
    """Of their jobs; None: as many as there is room for."""


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """A job at one moment."""

    record: JobRecord
    outcome: JobOutcome | None = None
    """None until it has ended."""
    progress: JobProgress = field(default_factory=JobProgress)
    """Of what has run until now."""

    @property
    def started(self) -> datetime | None:
        """When it was begun; None while it waits."""
        return self.outcome.started if self.outcome is not None else self.progress.started

    @property
    def state(self) -> JobState:
        """How far it is."""
        if self.outcome is not None:
            return JobState.SUCCEEDED if self.outcome.result is not None else JobState.FAILED
        return JobState.RUNNING if self.progress.started else JobState.QUEUED

    @property
    def tiles(self) -> int:
        """Tiles of all its inference requests; 0 until it is admitted."""
        return self.outcome.tiles if self.outcome is not None else self.progress.tiles

    @property
    def tiles_done(self) -> int:
        """How many of its tiles have been on the device."""
        return self.tiles if self.state is JobState.SUCCEEDED else self.progress.tiles_done

    @property
    def seconds(self) -> dict[str, float]:
        """What was spent in each stage so far."""
        result = self.outcome.result if self.outcome is not None else None
        return result.seconds if result is not None else self.progress.seconds
