"""All jobs, from the queue to the end of their time: runs them in the background, and keeps their results for a while.

A job is on disk before it is confirmed, and its result before it is announced. Jobs that a stop or a crash interrupted
are begun again.
"""

import asyncio
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

from service.errors import (
    DeviceLost,
    Draining,
    JobConflict,
    JobLost,
    JobsUnavailable,
    ModelUnavailable,
    Overloaded,
    ResultTooLarge,
    ServiceError,
    TooManyJobs,
    UnknownJob,
)
from service.jobs.job import Job, JobState, public_id
from service.jobs.store import JobOutcome, JobRecord, JobStore, StoredFailure
from service.models.registry import ModelRegistry
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.requests import ImageRequest, InputFiles
from service.pipeline.resolve import resolve
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.log import log_line
from service.telemetry.metrics import Metrics

MAX_ATTEMPTS = 3
"""How often a job is begun: one that ends the process each time would otherwise do so for ever."""

MAX_KEPT = 10_000
"""Jobs in memory at most; each takes some kilobytes."""

SWEEP_SECONDS = 60.0
"""How often expired results are looked for."""

TOO_MANY_RETRY_SECONDS = 5

logger = logging.getLogger(__name__)


class JobQueue:
    """All jobs that are kept: queued, running and ended."""

    def __init__(
        self, settings: Settings, models: ModelRegistry, coalescer: RequestCoalescer, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._models = models
        self._coalescer = coalescer
        self._metrics = metrics
        self._store = JobStore(settings.jobs_folder)
        self._room = asyncio.Semaphore(settings.max_running_jobs)
        self._jobs: dict[str, Job] = {}
        self._changing = asyncio.Lock()
        self._trouble: str | None = "the service is starting"
        metrics.jobs_bytes.set_function(self._bytes)
        for state in JobState:
            metrics.jobs.labels(state).set_function(partial(self._count, state))

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
            async with self._changing:
                if not self._store.is_open and self._store.exists():
                    await self._take_over()  # the process that held the folder may have ended
                await self._make_room(0)

    async def stop(self) -> None:
        """Stop; unfinished jobs are left to the next process."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._store.close)

    def find(self, job_id: str) -> Job:
        """The job of that id. Raises UnknownJob."""
        try:
            return self._jobs[job_id]
        except KeyError:
            self._require_store()
            kept = self._settings.job_seconds
            detail = f"there is no job {public_id(job_id)!r}; finished ones are kept for {kept:g} s at most"
            raise UnknownJob(detail) from None

    async def put(self, job_id: str, request: ImageRequest, files: InputFiles, trace: Trace) -> tuple[Job, bool]:
        """The job of that id, and whether it is new: an equal request with equal files gets the same job again.

        Raises JobConflict where the id belongs to another request, TooManyJobs, JobsUnavailable.
        """
        request = request.as_bulk()
        fingerprint = await asyncio.to_thread(_fingerprint, request, files)
        async with self._changing:
            if (known := self._jobs.get(job_id)) is not None:
                if known.record.fingerprint != fingerprint:
                    detail = f"job {public_id(job_id)!r} has another image or other parameters; choose another id"
                    raise JobConflict(detail)
                return known, False
            request_id, context = trace.request_id, trace.context
            record = JobRecord(
                id=job_id, request=request, fingerprint=fingerprint, request_id=request_id, context=context
            )
            job = Job(record, Trace(request_id, context))
            await self._create(job, files)
        self._start(job)
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
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait((job.task,))
        async with self._changing:
            if self._jobs.get(job_id) is job:
                await self._delete(job)
                if job.outcome is None:
                    self._metrics.jobs_ended.labels("cancelled").inc()
        job.ended.set()

    async def _take_over(self) -> None:
        try:
            await asyncio.to_thread(self._store.open)
            for record, outcome in await asyncio.to_thread(lambda: list(self._store.load())):
                await self._restore(record, outcome)
        except OSError as error:
            self._trouble = f"the folder of the jobs cannot be used: {error.strerror}"
            logger.warning("no jobs: %s (%s)", self._trouble, self._settings.jobs_folder)
        else:
            self._trouble = None

    async def _restore(self, record: JobRecord, outcome: JobOutcome | None) -> None:
        job = Job(record, Trace(record.request_id, record.context), outcome, outcome.started if outcome else None)
        job.bytes = await asyncio.to_thread(self._store.size, record.id)
        self._jobs[record.id] = job
        if outcome is None:
            self._start(job)
        else:
            job.ended.set()

    async def _create(self, job: Job, files: InputFiles) -> None:
        if not self._store.is_open and self._trouble is None:
            await self._take_over()
        self._require_store()
        unfinished = self._count(JobState.QUEUED, JobState.RUNNING)
        if unfinished >= self._settings.max_jobs:
            raise _too_many(f"{unfinished} jobs are unfinished; at most {self._settings.max_jobs} are accepted")
        size = len(files.image) + len(files.mask or b"")
        if not await self._make_room(size):
            raise _too_many(f"unfinished jobs leave no room for {size} bytes; {self._settings.job_bytes} are kept")
        job_id = job.record.id
        try:
            await asyncio.to_thread(self._store.create, job.record, files)
            job.bytes = await asyncio.to_thread(self._store.size, job_id)
        except OSError as error:
            raise JobsUnavailable(f"the job cannot be written: {error.strerror}") from error
        self._jobs[job_id] = job

    def _require_store(self) -> None:
        if self._trouble is not None:
            raise JobsUnavailable(f"{self._trouble}; a request without `Prefer: respond-async` needs no job")

    def _start(self, job: Job) -> None:
        job.task = asyncio.create_task(self._run(job))
        job.task.add_done_callback(lambda _: job.ended.set())  # also where it is cancelled before it has begun

    async def _run(self, job: Job) -> None:
        """Run a job when there is room. Its outcome stays None where it is left to the next process."""
        try:
            async with self._room:
                await self._run_now(job)
        except Exception:
            logger.exception("the end of job %s cannot be recorded", job.record.id)
            job.outcome = _failed(ServiceError("the service failed; its log has the cause"))

    async def _run_now(self, job: Job) -> None:
        """From the image to the result, or to a failure. Draining and DeviceLost leave the job to the next process."""
        job_id = job.record.id
        job.started = datetime.now(UTC)
        try:
            image = await self._attempt(job)
            outcome, content = JobOutcome(result=image.result), image.content
        except DeviceLost:
            return
        except (Draining, asyncio.CancelledError):
            await asyncio.to_thread(self._store.interrupt, job_id)
            return
        except ServiceError as failure:
            outcome, content = _failed(failure), b""
        except Exception:
            logger.exception("job %s failed", job_id)
            outcome, content = _failed(ServiceError("the service failed; its log has the cause")), b""
        await self._finish(job, outcome, content)

    async def _attempt(self, job: Job) -> FinishedImage:
        """Run the request; where it is refused for want of room or of its model, wait and try again."""
        record, settings = job.record, self._settings
        if await asyncio.to_thread(self._store.begin, record.id) >= MAX_ATTEMPTS:
            raise JobLost(f"the service ended {MAX_ATTEMPTS} times while it was processing this image")
        files = await asyncio.to_thread(self._store.files, record.id)
        until = monotonic() + (record.request.timeout or settings.job_timeout)
        while True:
            try:
                left = max(0.001, until - monotonic())
                request = _with_timeout(record.request, left)
                resolved = resolve(request, self._models, settings, files.mask, left)
                return await self._coalescer.run(resolved, files.image, job.trace)
            except (Overloaded, ModelUnavailable) as refusal:
                if refusal.retry_after is None or monotonic() + refusal.retry_after >= until:
                    raise
                await asyncio.sleep(refusal.retry_after)

    async def _finish(self, job: Job, outcome: JobOutcome, content: bytes) -> None:
        async with self._changing:
            job.bytes = 0
            if not await self._make_room(len(content)):
                detail = f"the result has {len(content)} bytes; at most {self._settings.job_bytes} are kept of all jobs"
                outcome, content = _failed(ResultTooLarge(detail)), b""
            outcome = outcome.model_copy(update={"started": job.started, "tiles": job.tiles})
            job.outcome = await self._write_outcome(job.record.id, outcome, content)
            job.bytes = await asyncio.to_thread(self._store.size, job.record.id)
        self._record(job)

    async def _write_outcome(self, job_id: str, outcome: JobOutcome, content: bytes) -> JobOutcome:
        """The outcome, or the failure to write it."""
        try:
            await asyncio.to_thread(self._store.finish, job_id, outcome, content)
        except OSError as error:
            logger.exception("the result of job %s cannot be written", job_id)
            return _failed(JobsUnavailable(f"the result cannot be written: {error.strerror}"))
        return outcome

    def _record(self, job: Job) -> None:
        """Add the ended job to the metrics and to the log."""
        trace, record = job.trace, job.record
        failure = job.outcome.failure if job.outcome else None
        trace.problem = failure.kind if failure else ""
        self._metrics.jobs_ended.labels(job.state).inc()
        trace.observe_stages(self._metrics)
        facts: dict[str, object] = {"job": record.id, "id": record.request_id, "state": job.state.value}
        log_line(logger, facts | trace.facts(), trace.durations)

    async def _make_room(self, wanted: int) -> bool:
        """Delete expired jobs, then the oldest ended ones, until so many bytes fit. Returns whether they do."""
        expired = datetime.now(UTC) - timedelta(seconds=self._settings.job_seconds)
        ended = [(job.outcome.finished, job) for job in self._jobs.values() if job.outcome is not None]
        for finished, job in sorted(ended, key=lambda pair: pair[0]):
            full = len(self._jobs) > MAX_KEPT or self._bytes() + wanted > self._settings.job_bytes
            if finished <= expired or full:
                await self._delete(job)
        return self._bytes() + wanted <= self._settings.job_bytes

    async def _delete(self, job: Job) -> None:
        del self._jobs[job.record.id]
        try:
            await asyncio.to_thread(self._store.remove, job.record.id)
        except OSError:
            logger.exception("job %s is forgotten, but remains on the disk", job.record.id)

    def _count(self, *states: JobState) -> int:
        return sum(job.state in states for job in self._jobs.values())

    def _bytes(self) -> int:
        return sum(job.bytes for job in self._jobs.values())


def _fingerprint(request: ImageRequest, files: InputFiles) -> str:
    """Of the request and its files; the timeout does not count."""
    digests = [hashlib.sha256(file).digest() if file is not None else b"" for file in (files.image, files.mask)]
    return hashlib.sha256(b"\0".join([request.model_dump_json(exclude={"timeout"}).encode(), *digests])).hexdigest()


def _with_timeout(request: ImageRequest, seconds: float) -> ImageRequest:
    """The request with so much time, where its client has named a timeout."""
    return request if request.timeout is None else request.model_copy(update={"timeout": seconds})


def _failed(failure: ServiceError) -> JobOutcome:
    return JobOutcome(failure=StoredFailure.of(failure))


def _too_many(detail: str) -> TooManyJobs:
    return TooManyJobs(f"{detail}; retry in {TOO_MANY_RETRY_SECONDS} s", retry_after=TOO_MANY_RETRY_SECONDS)
