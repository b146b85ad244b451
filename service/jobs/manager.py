"""The jobs of a service, as its routes see them: put, found, waited for, deleted.

A job is stored before it is confirmed, and its result before it is announced. Jobs that a stop or a crash interrupted
are begun again.
"""

import asyncio
import hashlib
import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from service.errors import JobConflict, JobsUnavailable, UnknownJob
from service.jobs.deliveries import Deliveries
from service.jobs.job import Job, JobState, Owner, public_id
from service.jobs.record import Callback, JobRecord
from service.jobs.runner import JobRunner
from service.jobs.signal import Signal
from service.jobs.store import JobStore
from service.jobs.uninterrupted import uninterrupted
from service.pipeline.requests import ImageRequest, InputFiles
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class JobManager:
    """The jobs of one store, which may not be usable for the time being."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        runner: JobRunner,
        deliveries: Deliveries,
        ended: Signal,
        metrics: Metrics,
    ) -> None:
        """`ended`: notified when a job has ended here, or is left to others."""
        self._settings = settings
        self._store = store
        self._runner = runner
        self._deliveries = deliveries
        self._ended = ended
        self._metrics = metrics
        self._leaving = self._stopping = False
        metrics.jobs_bytes.set_function(lambda: store.counts.bytes)
        metrics.job_store_available.set_function(lambda: store.trouble is None)
        for state in JobState:
            metrics.jobs.labels(state).set_function(partial(self._count, state))

    @property
    def warnings(self) -> list[str]:
        """Why there are no jobs at this moment."""
        return [] if self._store.trouble is None else [f"no jobs: {self._store.trouble}"]

    async def open(self) -> None:
        """Begin to run jobs, with those that an earlier process has left."""
        await self._store.open()
        self._runner.start()
        self._deliveries.start()

    async def sweep(self) -> None:
        """Delete expired results, until cancelled."""
        while True:
            await asyncio.sleep(self._store.sweep_seconds)
            await self._sweep_once()
            self._runner.wake()
            self._deliveries.wake()

    def drain(self) -> None:
        """Begin no further job."""
        self._runner.close()

    def leave(self) -> None:
        """Let nobody wait for a job that is not carried out here: it is left to others, or to the next process."""
        self._leaving = True
        self._ended.notify()

    async def stop(self) -> None:
        """Stop; unfinished jobs, and webhooks that were not delivered, are left to others, or to the next process.

        Each part stops, and the store is closed, whatever those before raise; that is raised at the end.
        """
        self._stopping = True
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self._store.close)
            last_first.callback(self._ended.notify)
            last_first.push_async_callback(self._deliveries.stop)
            last_first.push_async_callback(self._runner.stop)

    async def find(self, job_id: str) -> Job:
        """The job of that id. Raises UnknownJob, JobsUnavailable."""
        job = await self._store.find(job_id)
        if job is None:
            raise self._unknown(job_id)
        progress = self._runner.progress(job_id)
        return replace(job, progress=progress) if progress is not None else job

    async def wait(self, job_id: str) -> Job:
        """The job of that id when it has ended; or before, where this service stops. Raises as `find`."""
        while True:
            changed = self._ended.listen()
            job = await self.find(job_id)
            is_left = self._leaving and self._runner.progress(job_id) is None
            if job.outcome is not None or is_left or self._stopping:
                return job
            await changed.wait(self._store.poll_seconds)

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
        record = JobRecord(
            id=job_id,
            request=request,
            fingerprint=fingerprint,
            request_id=trace.request_id,
            context=trace.context,
            callback=callback,
            owner=owner.name,
        )
        try:
            job, new = await self._create(record, files, owner.most_unfinished)
        finally:
            self._runner.wake()  # the job may be new, though its client has left
        if not new:
            _require_same(job.record, fingerprint, callback)
        return job, new

    async def result(self, job: Job) -> bytes:
        """The finished image. Raises UnknownJob where the job was just deleted, or its result was by somebody else."""
        try:
            return await self._store.result(job.record.id)
        except FileNotFoundError as error:
            name = public_id(job.record.id)
            if await self._store.find(job.record.id) is None:
                raise UnknownJob(f"job {name!r} has been deleted") from error
            lost = f"the result of job {name!r} is gone from its store; delete the job, and begin it again"
            raise UnknownJob(lost) from error

    async def remove(self, job_id: str) -> None:
        """Cancel a job, which frees its place on the device, and delete it with its result. Raises UnknownJob."""
        if await uninterrupted(self._remove(job_id)) is None:
            raise self._unknown(job_id)

    async def _remove(self, job_id: str) -> JobState | None:
        removed = await self._store.remove(job_id)
        if removed in (JobState.QUEUED, JobState.RUNNING):
            self._metrics.jobs_ended.labels("cancelled").inc()
        await self._runner.drop(job_id)
        self._ended.notify()
        return removed

    def _unknown(self, job_id: str) -> UnknownJob:
        kept = self._settings.job_seconds
        return UnknownJob(f"there is no job {public_id(job_id)!r}; finished ones are kept for {kept:.12g} s at most")

    async def _sweep_once(self) -> None:
        try:
            await self._store.sweep()
        except JobsUnavailable:
            pass  # the store has told
        except Exception:
            logger.exception("expired jobs cannot be deleted")

    async def _create(self, record: JobRecord, files: InputFiles, most_of_owner: int | None) -> tuple[Job, bool]:
        """The job of that id, and whether it is new. Files of a job that is there are not sent to the store."""
        known = await self._store.find(record.id)
        if known is not None:
            return known, False
        return await self._store.create(record, files, most_of_owner)

    def _count(self, state: JobState) -> int:
        return self._store.counts.jobs[state]


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
