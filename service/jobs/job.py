"""A job: a request that is carried out in the background, and kept until its result has expired."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from service.jobs.record import JobOutcome, JobRecord
from service.pipeline.trace import Trace


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


@dataclass(eq=False)
class Job:
    """One job in memory; `record` and `outcome` are also on disk."""

    record: JobRecord
    trace: Trace
    outcome: JobOutcome | None = None
    """None until it has ended."""
    started: datetime | None = None
    bytes: int = 0
    """Its size on disk."""
    task: asyncio.Task[None] | None = None
    delivery: asyncio.Task[None] | None = None
    """Delivers its webhook."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has ended, was cancelled, or is left to the next process."""

    @property
    def state(self) -> JobState:
        """How far it is."""
        if self.outcome is not None:
            return JobState.SUCCEEDED if self.outcome.result is not None else JobState.FAILED
        return JobState.RUNNING if self.started else JobState.QUEUED

    @property
    def tiles(self) -> int:
        """Tiles of all its inference requests; 0 until it is admitted."""
        if self.outcome is not None:
            return self.outcome.tiles
        return sum(inference.tile_count for inference in self.trace.inferences)

    @property
    def tiles_done(self) -> int:
        """How many of its tiles have been on the device."""
        if self.state is JobState.SUCCEEDED:
            return self.tiles
        return sum(inference.tiles_done for inference in self.trace.inferences)
