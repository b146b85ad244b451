"""The jobs that are kept, in memory and on the disk: for a bounded time, and in a bounded space."""

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial

from service.errors import JobsUnavailable, QuotaExceeded, TooManyJobs
from service.jobs.deliveries import Deliveries
from service.jobs.job import Job, JobState
from service.jobs.record import JobOutcome, JobRecord
from service.jobs.store import JobStore
from service.pipeline.requests import InputFiles
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.metrics import Metrics

MAX_KEPT = 10_000
"""Jobs in memory at most; each takes some kilobytes."""

TOO_MANY_RETRY_SECONDS = 5

UNFINISHED_JOBS = "unfinished-jobs"
"""The name of an owner's limit in problems."""

logger = logging.getLogger(__name__)


class JobTable:
    """All jobs: queued, running and ended. Who adds, ends or deletes one holds `changing` meanwhile."""

    def __init__(self, settings: Settings, store: JobStore, deliveries: Deliveries, metrics: Metrics) -> None:
        self.changing = asyncio.Lock()
        self._settings = settings
        self._store = store
        self._deliveries = deliveries
        self._jobs: dict[str, Job] = {}
        metrics.jobs_bytes.set_function(self._bytes)
        for state in JobState:
            metrics.jobs.labels(state).set_function(partial(self._count, state))

    def all(self) -> Collection[Job]:
        """Every job, in the order in which they came."""
        return self._jobs.values()

    def find(self, job_id: str) -> Job | None:
        """The job of that id; None where there is none."""
        return self._jobs.get(job_id)

    async def create(self, record: JobRecord, files: InputFiles, most_of_owner: int | None = None) -> Job:
        """A new job, on the disk already. `most_of_owner`: the most unfinished jobs that its owner may have.

        Raises QuotaExceeded, TooManyJobs, and JobsUnavailable where it cannot be written.
        """
        size = len(files.image) + len(files.mask or b"")
        self._check_quota(record.owner, most_of_owner)
        await self._require_room(size)
        job = Job(record, Trace(record.request_id, record.context))
        try:
            await asyncio.to_thread(self._store.create, record, files)
            await self.measure(job)
        except OSError as error:
            raise JobsUnavailable(f"the job cannot be written: {error.strerror}") from error
        self._jobs[record.id] = job
        return job

    async def restore(self, record: JobRecord, outcome: JobOutcome | None) -> Job:
        """A job that an earlier process has left on the disk."""
        job = Job(record, Trace(record.request_id, record.context), outcome, outcome.started if outcome else None)
        await self.measure(job)
        self._jobs[record.id] = job
        return job

    async def measure(self, job: Job) -> None:
        """Note how much of the disk a job takes."""
        job.bytes = await asyncio.to_thread(self._store.size, job.record.id)

    async def make_room(self, wanted: int) -> bool:
        """Delete expired jobs, then the oldest ended ones, until `wanted` bytes fit. Returns whether they do."""
        expired = datetime.now(UTC) - timedelta(seconds=self._settings.job_seconds)
        ended = [(job.outcome.finished, job) for job in self._jobs.values() if job.outcome is not None]
        for finished, job in sorted(ended, key=lambda pair: pair[0]):
            full = len(self._jobs) > MAX_KEPT or self._bytes() + wanted > self._settings.job_bytes
            if finished <= expired or full:
                await self.delete(job)
        return self._bytes() + wanted <= self._settings.job_bytes

    async def delete(self, job: Job) -> None:
        """Forget a job and its webhook, and delete its files."""
        del self._jobs[job.record.id]
        self._deliveries.cancel(job)
        try:
            await asyncio.to_thread(self._store.remove, job.record.id)
        except OSError:
            logger.exception("job %s is forgotten, but remains on the disk", job.record.id)

    def _check_quota(self, owner: str, most: int | None) -> None:
        """Raise QuotaExceeded where an owner has as many unfinished jobs as it may have."""
        if most is None:
            return
        unfinished = sum(job.outcome is None and job.record.owner == owner for job in self._jobs.values())
        if unfinished >= most:
            detail = f"{unfinished} jobs of this client are unfinished; {most} are accepted"
            raise QuotaExceeded(
                f"{detail}; retry in {TOO_MANY_RETRY_SECONDS} s",
                retry_after=TOO_MANY_RETRY_SECONDS,
                **{"violated-policies": [UNFINISHED_JOBS]},
            )

    async def _require_room(self, size: int) -> None:
        """Raise TooManyJobs where there is no place for a job with files of `size` bytes."""
        unfinished, most = self._count(JobState.QUEUED, JobState.RUNNING), self._settings.max_jobs
        if unfinished >= most:
            raise _too_many(f"{unfinished} jobs are unfinished; at most {most} are accepted")
        if not await self.make_room(size):
            raise _too_many(f"unfinished jobs leave no room for {size} bytes; {self._settings.job_bytes} are kept")

    def _count(self, *states: JobState) -> int:
        return sum(job.state in states for job in self._jobs.values())

    def _bytes(self) -> int:
        return sum(job.bytes for job in self._jobs.values())


def _too_many(detail: str) -> TooManyJobs:
    return TooManyJobs(f"{detail}; retry in {TOO_MANY_RETRY_SECONDS} s", retry_after=TOO_MANY_RETRY_SECONDS)
