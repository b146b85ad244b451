"""The jobs of a folder, in memory: which of them is next, and which are deleted to make room.

The folder belongs to one process, so that the table knows all of its jobs. It reads and writes nothing.
"""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from service.jobs.delivery_places import FullPlaces
from service.jobs.job import Job, JobState
from service.jobs.record import Delivery, DeliveryState, JobOutcome
from service.jobs.refusals import too_many_jobs, too_many_of_owner
from service.jobs.store import MAX_KEPT, NOBODY, JobCounts, most_unfinished_bytes

ByTime = list[tuple[datetime, str]]
"""Ids of jobs, in the order of times."""

LONGER_THAN_WAITS = timedelta(hours=2)
"""Whatever webhook would wait so long was put off before the clock was set back."""


@dataclass(frozen=True)
class KeptJob:
    """A job that is in the folder."""

    job: Job
    bytes: int = 0
    """Its size on disk."""
    delivery: Delivery | None = None
    """Of its webhook; None without one, or while the job has not ended."""
    token: str | None = None
    """Of the latest claim on the job; None where it waits, or an earlier process has ended it."""
    delivery_token: str | None = None
    """Of the claim on its webhook; None where that is not claimed."""

    @property
    def delivering(self) -> bool:
        """Whether the webhook is claimed."""
        return self.delivery_token is not None

    @property
    def has_pending_delivery(self) -> bool:
        """Whether its webhook is still to be delivered."""
        return self.delivery is not None and self.delivery.state is DeliveryState.PENDING


class JobTable:
    """All jobs: queued, running and ended. What is asked of it takes no longer where there are many.

    Only webhooks of those whose places are full are passed over one by one.
    """

    def __init__(self, most_jobs: int, most_bytes: int) -> None:
        """`most_bytes`: of all jobs; those that are unfinished get `most_unfinished_bytes` of it."""
        self._most_jobs = most_jobs
        self._most_bytes = most_bytes
        self._jobs: dict[str, KeptJob] = {}
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._ended: ByTime = []
        """By the time at which they ended."""
        self._due: ByTime = []
        """Those whose webhooks are to be delivered, and are not claimed, by the time at which that is due."""
        self._states: Counter[JobState] = Counter()
        self._unfinished: Counter[str] = Counter()
        """Jobs of each owner that has such."""
        self._bytes = 0
        self._ended_bytes = 0
        """Those of jobs that have ended."""

    def find(self, job_id: str) -> KeptJob | None:
        """The job of that id; None where there is none."""
        return self._jobs.get(job_id)

    def add(self, kept: KeptJob) -> None:
        """Add a job; it waits, unless it has ended."""
        self._enter(kept)
        if kept.job.outcome is None:
            self._waiting[kept.job.record.id] = None

    def remove(self, job_id: str) -> KeptJob:
        """Forget a job."""
        self._waiting.pop(job_id, None)
        return self._leave(job_id)

    def take(self, token: str) -> Job | None:
        """The job that has waited longest, which is claimed from now on; None where none waits."""
        if not self._waiting:
            return None
        job_id, _ = self._waiting.popitem(last=False)
        self._jobs[job_id] = replace(self._jobs[job_id], token=token)
        return self._jobs[job_id].job

    def put_back(self, job_id: str) -> None:
        """A job that was taken waits again, before all others."""
        if job_id in self._jobs:
            self._jobs[job_id] = replace(self._jobs[job_id], token=None)
            self._waiting[job_id] = None
            self._waiting.move_to_end(job_id, last=False)

    def resize(self, job_id: str, size: int) -> None:
        """A job has so many bytes on the disk from now on."""
        self._enter(replace(self._leave(job_id), bytes=size))

    def end(self, job_id: str, outcome: JobOutcome, size: int, now: datetime) -> None:
        """A job has ended; its webhook, if it has one, is due."""
        kept = self._leave(job_id)
        delivery = Delivery(next_at=now) if kept.job.record.callback is not None else None
        self._enter(replace(kept, job=replace(kept.job, outcome=outcome), bytes=size, delivery=delivery))

    def next_delivery(self, full: FullPlaces = NOBODY) -> datetime | None:
        """When the next webhook is due that is not claimed, and has a place; None where there is none."""
        first = self._first(self._due, full)
        return first[0] if first is not None else None

    def claim_delivery(self, now: datetime, token: str, full: FullPlaces = NOBODY) -> KeptJob | None:
        """The job whose webhook is due first, and is claimed from now on; None where none is due yet."""
        job_id = self._due_job(now, full)
        if job_id is None:
            return None
        claimed = replace(self._leave(job_id), delivery_token=token)
        self._enter(claimed)
        return claimed

    def end_delivery(self, job_id: str, delivery: Delivery) -> None:
        """How far the delivery of a webhook is, which is not claimed any more."""
        self._enter(replace(self._leave(job_id), delivery=delivery, delivery_token=None))

    def require_place(self, owner: str, most_of_owner: int | None) -> None:
        """Raise QuotaExceeded or TooManyJobs where there is no place for a further job of that owner."""
        of_owner, unfinished = self._unfinished[owner], len(self._jobs) - len(self._ended)
        if most_of_owner is not None and of_owner >= most_of_owner:
            raise too_many_of_owner(of_owner, most_of_owner)
        if unfinished >= self._most_jobs:
            raise too_many_jobs(unfinished, self._most_jobs)

    def to_remove(self, wanted: int, expired: datetime) -> str | None:
        """The next job that must go, so that `wanted` bytes fit: what ended before `expired`, then the oldest.

        None goes for bytes that would not fit without all that have ended.
        """
        if not self._ended:
            return None
        finished, oldest = self._ended[0]
        too_many = len(self._jobs) > MAX_KEPT
        makes_room = self._bytes - self._ended_bytes + wanted <= self._most_bytes < self._bytes + wanted
        return oldest if finished <= expired or too_many or makes_room else None

    def admits(self, wanted: int) -> bool:
        """Whether unfinished jobs may have that many bytes more. A lone one may have all: its input goes at its end."""
        is_first = len(self._jobs) == len(self._ended)
        return is_first or self._bytes - self._ended_bytes + wanted <= most_unfinished_bytes(self._most_bytes)

    def has_room(self, wanted: int) -> bool:
        """Whether that many bytes fit."""
        return self._bytes + wanted <= self._most_bytes

    @property
    def counts(self) -> JobCounts:
        """How much is kept. A job that was taken and has not ended is running."""
        states = {state: self._states[state] for state in JobState}
        states[JobState.RUNNING] = states[JobState.QUEUED] - len(self._waiting)
        states[JobState.QUEUED] = len(self._waiting)
        return JobCounts(states, self._bytes)

    def _due_job(self, now: datetime, full: FullPlaces) -> str | None:
        """The job whose webhook is due first; one is due that would wait for longer than any may."""
        first, last = self._first(self._due, full), self._first(reversed(self._due), full)
        if first is not None and first[0] <= now:
            return first[1]
        return last[1] if last is not None and last[0] > now + LONGER_THAN_WAITS else None

    def _first(self, due: Iterable[tuple[datetime, str]], full: FullPlaces) -> tuple[datetime, str] | None:
        return next((entry for entry in due if not full.concern(self._jobs[entry[1]].job.record)), None)

    def _enter(self, kept: KeptJob) -> None:
        self._jobs[kept.job.record.id] = kept
        self._sum_up(kept, 1)
        for order, entry in self._entries(kept):
            insort(order, entry)

    def _leave(self, job_id: str) -> KeptJob:
        kept = self._jobs.pop(job_id)
        self._sum_up(kept, -1)
        for order, entry in self._entries(kept):
            del order[bisect_left(order, entry)]
        return kept

    def _sum_up(self, kept: KeptJob, sign: int) -> None:
        self._bytes += sign * kept.bytes
        self._states[kept.job.state] += sign
        if kept.job.outcome is not None:
            self._ended_bytes += sign * kept.bytes
        else:
            owner = kept.job.record.owner
            self._unfinished[owner] += sign
            if not self._unfinished[owner]:
                del self._unfinished[owner]

    def _entries(self, kept: KeptJob) -> Iterator[tuple[ByTime, tuple[datetime, str]]]:
        job_id = kept.job.record.id
        if kept.job.outcome is not None:
            yield self._ended, (kept.job.outcome.finished, job_id)
        if kept.delivery is not None and kept.has_pending_delivery and not kept.delivering:
            yield self._due, (kept.delivery.next_at, job_id)
