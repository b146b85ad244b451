"""One piece of work that nobody waits for on the line."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from service.job_store import Outcome, Record
from service.trace import Trace


class State(StrEnum):
    """Of a commission."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(eq=False)
class Commission:
    """An order that is kept until its result has been fetched, or has had its time."""

    record: Record
    trace: Trace
    outcome: Outcome | None = None
    started: datetime | None = None
    bytes: int = 0
    """On the disk."""
    task: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.outcome is not None:
            return State.SUCCEEDED if self.outcome.result is not None else State.FAILED
        return State.RUNNING if self.started else State.QUEUED

    @property
    def tiles(self) -> int:
        """Of the images that were admitted for it."""
        if self.outcome is not None:
            return self.outcome.tiles
        return sum(job.count for job in self.trace.jobs)

    @property
    def tiles_done(self) -> int:
        """Of these, how many have been on the device."""
        if self.state is State.SUCCEEDED:
            return self.tiles
        return sum(job.count - len(job.tiles) - len(job.running) for job in self.trace.jobs)
