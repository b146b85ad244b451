"""Runs jobs in the background: from the image to the result, or to a failure, and the record of either."""

import asyncio
import logging
from datetime import UTC, datetime
from time import monotonic

from service.errors import (
    DeadlineExceeded,
    DeviceLost,
    Draining,
    JobLost,
    JobsUnavailable,
    ModelUnavailable,
    OutOfResources,
    Overloaded,
    ResultTooLarge,
    ServiceError,
)
from service.jobs.deliveries import Deliveries
from service.jobs.job import Job
from service.jobs.job_table import JobTable
from service.jobs.record import JobOutcome
from service.jobs.store import JobStore
from service.models.registry import ModelRegistry
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.requests import ImageRequest
from service.pipeline.resolve import resolve
from service.pipeline.result import FinishedImage
from service.settings import Settings
from service.telemetry.log import log_line
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing

MAX_ATTEMPTS = 3
"""How often a job is begun: one that ends the process each time would otherwise do so for ever."""

logger = logging.getLogger(__name__)


class JobRunner:
    """Runs as many jobs at the same time as the settings say; the others wait on the disk."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        coalescer: RequestCoalescer,
        store: JobStore,
        jobs: JobTable,
        deliveries: Deliveries,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._settings = settings
        self._models = models
        self._coalescer = coalescer
        self._store = store
        self._jobs = jobs
        self._deliveries = deliveries
        self._metrics = metrics
        self._tracing = tracing
        self._slots = asyncio.Semaphore(settings.max_running_jobs)

    def start(self, job: Job) -> None:
        """Run a job as soon as there is room."""
        job.task = asyncio.create_task(self._run(job))
        job.task.add_done_callback(lambda _: job.ended.set())  # also where it is cancelled before it has begun

    async def cancel(self, job: Job) -> None:
        """Stop a job, which frees its place on the device. Its outcome stays None unless it has just ended."""
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait((job.task,))

    async def _run(self, job: Job) -> None:
        """Run a job when there is room. Its outcome stays None where it is left to the next process."""
        try:
            async with self._slots:
                await self._run_now(job)
        except Exception:
            logger.exception("the end of job %s cannot be recorded", job.record.id)
            job.outcome = JobOutcome.failed(_unexpected())
        if job.outcome is not None:
            self._deliveries.start(job)

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
            outcome, content = JobOutcome.failed(failure), b""
        except Exception:
            logger.exception("job %s failed", job_id)
            outcome, content = JobOutcome.failed(_unexpected()), b""
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
            except DeadlineExceeded as failure:
                seconds = record.request.timeout or settings.job_timeout
                detail = f"the job was not done in {seconds:g} s; send a smaller image, or a larger X-Request-Timeout"
                raise failure.copy(detail) from failure
            except (Overloaded, ModelUnavailable, OutOfResources) as refusal:
                if refusal.retry_after is None or monotonic() + refusal.retry_after >= until:
                    raise
                await asyncio.sleep(refusal.retry_after)

    async def _finish(self, job: Job, outcome: JobOutcome, content: bytes) -> None:
        async with self._jobs.changing:
            job.bytes = 0
            if not await self._jobs.make_room(len(content)):
                detail = f"the result has {len(content)} bytes; at most {self._settings.job_bytes} are kept of all jobs"
                outcome, content = JobOutcome.failed(ResultTooLarge(detail)), b""
            outcome = outcome.model_copy(update={"started": job.started, "tiles": job.tiles})
            job.outcome = await self._write_outcome(job.record.id, outcome, content)
            await self._jobs.measure(job)
        self._record(job)

    async def _write_outcome(self, job_id: str, outcome: JobOutcome, content: bytes) -> JobOutcome:
        """The outcome, or the failure to write it."""
        try:
            await asyncio.to_thread(self._store.finish, job_id, outcome, content)
        except OSError as error:
            logger.exception("the result of job %s cannot be written", job_id)
            return JobOutcome.failed(JobsUnavailable(f"the result cannot be written: {error.strerror}"))
        return outcome

    def _record(self, job: Job) -> None:
        """Add the ended job to the metrics, to the log and to its trace."""
        trace, record = job.trace, job.record
        failure = job.outcome.failure if job.outcome else None
        trace.problem = failure.kind if failure else ""
        self._metrics.jobs_ended.labels(job.state).inc()
        trace.observe_stages(self._metrics)
        facts: dict[str, object] = {"job": record.id, "id": record.request_id, "state": job.state.value}
        log_line(logger, facts | trace.facts(), trace.durations)
        if record.context is not None:
            attributes = {"pastiche.job.id": record.id, "pastiche.request.id": record.request_id}
            failed = failure is not None and failure.error().status >= ServiceError.status
            span = self._tracing.begin(*record.context.values(), ago=trace.elapsed())
            span.end("job", attributes, trace.stages, failed=failed)


def _with_timeout(request: ImageRequest, seconds: float) -> ImageRequest:
    """The request with so much time, where its client has named a timeout."""
    return request if request.timeout is None else request.model_copy(update={"timeout": seconds})


def _unexpected() -> ServiceError:
    return ServiceError("the service failed; its log has the cause")
