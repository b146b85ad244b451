"""The jobs of a folder, in memory: which of them is next, and which are deleted to make room.

The folder belongs to one process, so that the table knows all of its jobs. It reads and writes nothing.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from service.jobs.job import Job, JobState
from service.jobs.record import Delivery, DeliveryState, JobOutcome
from service.jobs.refusals import too_many_jobs, too_many_of_owner
from service.jobs.store import MAX_KEPT, JobCounts


@dataclass
class KeptJob:
    """A job that is in the folder."""

    job: Job
    bytes: int = 0
    """Its size on disk."""
    delivery: Delivery | None = None
    """Of its webhook; None without one, or while the job has not ended."""
    delivering: bool = False
    """Whether the webhook is claimed."""

    @property
    def has_pending_delivery(self) -> bool:
        """Whether its webhook is still to be delivered."""
        return self.delivery is not None and self.delivery.state is DeliveryState.PENDING


class JobTable:
    """All jobs: queued, running and ended."""

    def __init__(self, most_jobs: int, most_bytes: int) -> None:
        self._most_jobs = most_jobs
        self._most_bytes = most_bytes
        self._jobs: dict[str, KeptJob] = {}
        self._waiting: deque[str] = deque()

    def find(self, job_id: str) -> KeptJob | None:
        """The job of that id; None where there is none."""
        return self._jobs.get(job_id)

    def add(self, kept: KeptJob) -> None:
        """Add a job; it waits, unless it has ended."""
        self._jobs[kept.job.record.id] = kept
        if kept.job.outcome is None:
            self._waiting.append(kept.job.record.id)

    def remove(self, job_id: str) -> KeptJob:
        """Forget a job."""
        if job_id in self._waiting:
            self._waiting.remove(job_id)
        return self._jobs.pop(job_id)

    def take(self) -> Job | None:
        """The job that has waited longest, which does not wait any more; None where none does."""
        return self._jobs[self._waiting.popleft()].job if self._waiting else None

    def put_back(self, job_id: str) -> None:
        """A job that was taken waits again, before all others."""
        if job_id in self._jobs:
            self._waiting.appendleft(job_id)

    def end(self, job_id: str, outcome: JobOutcome, size: int, now: datetime) -> None:
        """A job has ended; its webhook, if it has one, is due."""
        kept = self._jobs[job_id]
        kept.job, kept.bytes = replace(kept.job, outcome=outcome), size
        kept.delivery = Delivery(next_at=now) if kept.job.record.callback is not None else None

    def deliveries(self) -> Iterator[KeptJob]:
        """Jobs whose webhooks are to be delivered, and are not claimed; the one that is due first comes first."""
        pending = [(kept.delivery.next_at, kept) for kept in self._jobs.values() if kept.delivery and _waits(kept)]
        return (kept for _, kept in sorted(pending, key=lambda pair: pair[0]))

    def require_place(self, owner: str, most_of_owner: int | None) -> None:
        """Raise QuotaExceeded or TooManyJobs where there is no place for a further job of that owner."""
        unfinished = [kept.job.record.owner for kept in self._jobs.values() if kept.job.outcome is None]
        if most_of_owner is not None and unfinished.count(owner) >= most_of_owner:
            raise too_many_of_owner(unfinished.count(owner), most_of_owner)
        if len(unfinished) >= self._most_jobs:
            raise too_many_jobs(len(unfinished), self._most_jobs)

    def to_remove(self, wanted: int, expired: datetime) -> str | None:
        """The next job that must go, so that `wanted` bytes fit: what ended before `expired`, then the oldest."""
        ended = [(kept.job.outcome.finished, job_id) for job_id, kept in self._jobs.items() if kept.job.outcome]
        if not ended:
            return None
        finished, oldest = min(ended)
        full = len(self._jobs) > MAX_KEPT or not self.has_room(wanted)
        return oldest if finished <= expired or full else None

    def has_room(self, wanted: int) -> bool:
        """Whether that many bytes fit."""
        return self.counts.bytes + wanted <= self._most_bytes

    @property
    def counts(self) -> JobCounts:
        """How much is kept. A job that was taken and has not ended is running."""
        states = dict.fromkeys(JobState, 0)
        for kept in self._jobs.values():
            states[kept.job.state] += 1
        states[JobState.RUNNING] = states[JobState.QUEUED] - len(self._waiting)
        states[JobState.QUEUED] = len(self._waiting)
        return JobCounts(states, sum(kept.bytes for kept in self._jobs.values()))


def _waits(kept: KeptJob) -> bool:
    return kept.has_pending_delivery and not kept.delivering
