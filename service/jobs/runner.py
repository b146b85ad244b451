"""Runs jobs in the background: from the image to the result, or to a failure, and the record of either."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
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
    ServiceError,
    name_exhaustion,
)
from service.jobs.claim_loop import ClaimLoop
from service.jobs.job import Job
from service.jobs.record import JobOutcome, JobProgress
from service.jobs.store import Answer, ClaimLost, JobStore, RunClaim, when_available
from service.models.registry import ModelRegistry
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.requests import ImageRequest, InputFiles
from service.pipeline.resolve import resolve
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.log import log_line
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing

MAX_ATTEMPTS = 3
"""How often a job is begun: one that ends the process each time would otherwise do so for ever."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class RunningJob:
    """A job that this replica carries out."""

    claim: RunClaim
    trace: Trace
    task: asyncio.Task[None]
    """Carries it out."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    lost: bool = False
    """Whether the claim is: the job was deleted, or another replica has it."""

    @property
    def progress(self) -> JobProgress:
        """How far it is."""
        return JobProgress.of(self.trace, self.started)

    def drop(self) -> None:
        """Stop, since nobody wants the result from here."""
        self.lost = True
        self.task.cancel()


class JobRunner:
    """Runs as many jobs at the same time as the settings say; the others wait in the store."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        coalescer: RequestCoalescer,
        store: JobStore,
        on_end: Callable[[], None],
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        """`on_end`: called when a job has ended, or is left to others."""
        self._settings = settings
        self._models = models
        self._coalescer = coalescer
        self._store = store
        self._on_end = on_end
        self._metrics = metrics
        self._tracing = tracing
        self._running: dict[str, RunningJob] = {}
        self._loop: ClaimLoop[RunClaim] = ClaimLoop(
            settings.max_running_jobs, store.claim_run, self._run, store.release, lambda: store.poll_seconds
        )
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run jobs as soon as models are known: until then another replica may run them, and an end of this
        process is none of their attempts."""
        self._starting = asyncio.create_task(self._start_with_models())

    def wake(self) -> None:
        """There is a new job."""
        self._loop.wake()

    def close(self) -> None:
        """Begin no further job."""
        self._loop.close()

    async def stop(self) -> None:
        """Stop; jobs that have not ended are given back."""
        if self._starting is not None:
            self._starting.cancel()
        await self._loop.stop()

    def progress(self, job_id: str) -> JobProgress | None:
        """How far a job is that runs here; None where it does not."""
        running = self._running.get(job_id)
        return running.progress if running is not None else None

    async def drop(self, job_id: str) -> None:
        """Stop a job that was deleted, if it runs here, which frees its place on the device."""
        running = self._running.get(job_id)
        if running is not None:
            running.drop()
            await asyncio.wait((running.task,))

    async def _start_with_models(self) -> None:
        await self._models.known.wait()
        self._loop.start()

    async def _run(self, claim: RunClaim) -> None:
        """Carry a claim out, and renew it meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        record = claim.record
        running = RunningJob(claim, Trace(record.request_id, record.context), task)
        self._running[record.id] = running
        if claim.taken_over:
            self._metrics.jobs_taken_over.inc()
            logger.warning("job %s is taken over from a replica that is not heard of any more", record.id)
        renewal = asyncio.create_task(self._renew(running))
        try:
            await self._run_now(running)
        except ClaimLost:
            logger.info("job %s was deleted, or has gone to another replica", record.id)
        finally:
            renewal.cancel()
            if self._running.get(record.id) is running:  # a claim that was lost may have come back here
                del self._running[record.id]
            self._on_end()

    async def _renew(self, running: RunningJob) -> None:
        """Keep the claim, and store the progress, until cancelled. A store that is away is waited for."""
        seconds = self._store.renew_seconds
        while seconds is not None:
            await asyncio.sleep(seconds)
            try:
                await self._store.renew(running.claim, running.progress)
            except ClaimLost:
                running.drop()
                return
            except JobsUnavailable:
                continue
            except Exception:
                logger.exception("the claim on job %s cannot be renewed", running.claim.record.id)

    async def _run_now(self, running: RunningJob) -> None:
        """From the image to the result, or to a failure. Draining gives the job back; DeviceLost leaves it claimed.

        The latter so that the attempt counts, and this process does not begin it once more before it ends.
        """
        try:
            outcome, content = await self._outcome(running)
            outcome = outcome.model_copy(update={"started": running.started, "tiles": running.progress.tiles})
            stored = await self._finish(running.claim, outcome, content)
        except DeviceLost:
            self._loop.close()
        except Draining:
            self._loop.close()
            await self._release(running)
        except asyncio.CancelledError:
            await self._release(running)
        else:
            self._record(running, Job(running.claim.record, stored))

    async def _outcome(self, running: RunningJob) -> tuple[JobOutcome, bytes]:
        """How the job ends, and the finished image. Raises DeviceLost, Draining, ClaimLost."""
        try:
            image = await self._attempt(running)
        except (DeviceLost, Draining, ClaimLost):
            raise
        except ServiceError as failure:
            return JobOutcome.failed(failure), b""
        except Exception:
            logger.exception("job %s failed", running.claim.record.id)
            return JobOutcome.failed(_unexpected()), b""
        return JobOutcome(result=image.result), image.content

    async def _finish(self, claim: RunClaim, outcome: JobOutcome, content: bytes) -> JobOutcome:
        """Store how a job ended; that it failed, where its end cannot be stored. Raises ClaimLost."""
        try:
            return await when_available(lambda: self._store.finish(claim, outcome, content))
        except ClaimLost:
            raise
        except Exception:
            logger.exception("the end of job %s cannot be stored", claim.record.id)
            failed = JobOutcome.failed(_unexpected()).model_copy(update={"started": outcome.started})
            return await when_available(lambda: self._store.finish(claim, failed))

    async def _release(self, running: RunningJob) -> None:
        """Give a job back; where the store is away, its claim expires."""
        if not running.lost:
            with suppress(JobsUnavailable):
                await self._store.release(running.claim)

    async def _attempt(self, running: RunningJob) -> FinishedImage:
        """Run the request, which waits where there is no room or no model for it."""
        claim, record, settings = running.claim, running.claim.record, self._settings
        if claim.attempts >= MAX_ATTEMPTS:
            raise JobLost(f"the service ended {MAX_ATTEMPTS} times while it was processing this image")
        seconds = record.request.timeout or settings.job_timeout
        files = await _unless_refused(lambda _: self._files(claim), seconds)

        async def run(left: float) -> FinishedImage:
            request = _with_timeout(record.request, left)
            resolved = resolve(request, self._models, settings, files.mask, left)
            return await self._coalescer.run(resolved, files.image, running.trace)

        try:
            return await _unless_refused(run, seconds)
        except DeadlineExceeded as failure:
            detail = f"the job was not done in {seconds:.12g} s; send a smaller image, or a larger X-Request-Timeout"
            raise failure.copy(detail) from failure

    async def _files(self, claim: RunClaim) -> InputFiles:
        """The files of a job. Raises ClaimLost, OutOfResources."""
        with name_exhaustion():
            return await when_available(lambda: self._store.files(claim))

    def _record(self, running: RunningJob, job: Job) -> None:
        """Add the ended job to the metrics, to the log and to its trace."""
        trace, record = running.trace, job.record
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


async def _unless_refused(call: Callable[[float], Awaitable[Answer]], seconds: float) -> Answer:
    """What a call returns that is given the seconds left; it is made again where it is refused for the moment."""
    until = monotonic() + seconds
    while True:
        try:
            return await call(max(0.001, until - monotonic()))
        except (Overloaded, ModelUnavailable, OutOfResources) as refusal:
            if refusal.retry_after is None or monotonic() + refusal.retry_after >= until:
                raise
            await asyncio.sleep(refusal.retry_after)


def _with_timeout(request: ImageRequest, seconds: float) -> ImageRequest:
    """The request with so much time, where its client has named a timeout."""
    return request if request.timeout is None else request.model_copy(update={"timeout": seconds})


def _unexpected() -> ServiceError:
    return ServiceError("the service failed; its log has the cause")
