"""The jobs of a service, as its routes see them: put, found, cancelled; and taken over from an earlier process.

A job is on disk before it is confirmed, and its result before it is announced. Jobs that a stop or a crash interrupted
are begun again.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable

from service.errors import JobConflict, JobsUnavailable, UnknownJob
from service.jobs.deliveries import Deliveries
from service.jobs.job import Job, Owner, public_id
from service.jobs.job_table import JobTable
from service.jobs.record import Callback, JobRecord
from service.jobs.runner import JobRunner
from service.jobs.store import JobStore
from service.pipeline.requests import ImageRequest, InputFiles
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.metrics import Metrics

SWEEP_SECONDS = 60.0
"""How often expired results are looked for."""

logger = logging.getLogger(__name__)


class JobManager:
    """The jobs of one folder, which may belong to another process for the time being."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        jobs: JobTable,
        runner: JobRunner,
        deliveries: Deliveries,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._store = store
        self._jobs = jobs
        self._runner = runner
        self._deliveries = deliveries
        self._metrics = metrics
        self._trouble: str | None = "the service is starting"

    async def open(self) -> None:
        """Take over the jobs that an earlier process has left. Where that fails, jobs are refused with the reason.

        A folder that does not exist is created with the first job.
        """
        if self._store.exists():
            await self._take_over()
        else:
            self._trouble = None

    async def sweep(self) -> None:
        """Delete expired results, until cancelled."""
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self._settings.job_seconds))
            async with self._jobs.changing:
                if not self._store.is_open and self._store.exists():
                    await self._take_over()  # the process that held the folder may have ended
                await self._jobs.make_room(0)

    async def stop(self) -> None:
        """Stop; unfinished jobs, and webhooks that were not delivered, are left to the next process."""
        await _cancel(job.task for job in self._jobs.all())
        await _cancel(job.delivery for job in self._jobs.all())
        await asyncio.to_thread(self._store.close)

    def find(self, job_id: str) -> Job:
        """The job of that id. Raises UnknownJob."""
        job = self._jobs.find(job_id)
        if job is None:
            self._require_store()
            kept = self._settings.job_seconds
            raise UnknownJob(f"there is no job {public_id(job_id)!r}; finished ones are kept for {kept:g} s at most")
        return job

    async def put(
        self,
        job_id: str,
        request: ImageRequest,
        files: InputFiles,
        trace: Trace,
        callback: Callback | None = None,
        owner: Owner | None = None,
    ) -> tuple[Job, bool]:
        """The job of that id, and whether it is new: an equal request with equal files gets the same job again.

        Raises JobConflict where the id belongs to another request, or to one with another callback; QuotaExceeded
        where the owner has too many, TooManyJobs where all have; JobsUnavailable.
        """
        request, owner = request.as_bulk(), owner or Owner()
        fingerprint = await asyncio.to_thread(_fingerprint, request, files)
        async with self._jobs.changing:
            if (known := self._jobs.find(job_id)) is not None:
                _require_same(known.record, fingerprint, callback)
                return known, False
            await self._open_store()
            record = JobRecord(
                id=job_id,
                request=request,
                fingerprint=fingerprint,
                request_id=trace.request_id,
                context=trace.context,
                callback=callback,
                owner=owner.name,
            )
            job = await self._jobs.create(record, files, owner.most_unfinished)
        self._runner.start(job)
        return job, True

    async def result(self, job: Job) -> bytes:
        """The finished image. Raises UnknownJob where the job was just deleted."""
        try:
            return await asyncio.to_thread(self._store.result, job.record.id)
        except FileNotFoundError as error:
            raise UnknownJob(f"job {public_id(job.record.id)!r} has been deleted") from error

    async def remove(self, job_id: str) -> None:
        """Cancel a job, which frees its place on the device, and delete it with its result. Raises UnknownJob."""
        job = self.find(job_id)
        await self._runner.cancel(job)
        async with self._jobs.changing:
            if self._jobs.find(job_id) is job:
                await self._jobs.delete(job)
                if job.outcome is None:
                    self._metrics.jobs_ended.labels("cancelled").inc()
        job.ended.set()

    async def _open_store(self) -> None:
        """Raises JobsUnavailable."""
        if not self._store.is_open and self._trouble is None:
            await self._take_over()
        self._require_store()

    async def _take_over(self) -> None:
        try:
            await asyncio.to_thread(self._store.open)
            for record, outcome in await asyncio.to_thread(lambda: list(self._store.load())):
                self._resume(await self._jobs.restore(record, outcome))
        except OSError as error:
            self._trouble = f"the folder of the jobs cannot be used: {error.strerror}"
            logger.warning("no jobs: %s (%s)", self._trouble, self._settings.jobs_folder)
        else:
            self._trouble = None

    def _resume(self, job: Job) -> None:
        if job.outcome is None:
            self._runner.start(job)
        else:
            job.ended.set()
            self._deliveries.start(job)

    def _require_store(self) -> None:
        if self._trouble is not None:
            raise JobsUnavailable(f"{self._trouble}; a request without `Prefer: respond-async` needs no job")


async def _cancel(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    """Cancel tasks, and wait until they have ended."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _require_same(record: JobRecord, fingerprint: str, callback: Callback | None) -> None:
    """Raise JobConflict where a job is not the one that is asked for again. A callback may be left out then."""
    if record.fingerprint != fingerprint:
        raise JobConflict(f"job {public_id(record.id)!r} has another image or other parameters; choose another id")
    if callback is not None and (record.callback is None or record.callback.url != callback.url):
        raise JobConflict(f"job {public_id(record.id)!r} has no callback, or another one; choose another id")


def _fingerprint(request: ImageRequest, files: InputFiles) -> str:
    """Of the request and its files; the timeout does not count."""
    digests = [hashlib.sha256(file).digest() if file is not None else b"" for file in (files.image, files.mask)]
    return hashlib.sha256(b"\0".join([request.model_dump_json(exclude={"timeout"}).encode(), *digests])).hexdigest()
