"""Work that nobody waits for on the line: what the API calls a job.

(A `Job` of jobs.py is one image on its way through one network; a commission becomes one, or several.)
A commission is on the disk before it is confirmed, and its result before it is said to be there. Commissions that a
stop or a crash interrupted are begun again.
"""

import asyncio
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

from service.body import Body
from service.briefs import StylizeBrief, UpscaleBrief
from service.commission import Commission, State
from service.desk import Desk
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
from service.job_store import Failed, JobStore, Outcome, Record
from service.metrics import Metrics
from service.results import Painting
from service.settings import Settings
from service.sharing import SharedStudio
from service.trace import Trace, log_line, measure_stages

MOST_ATTEMPTS = 3
"""So often a commission is begun; one that ends the process each time would else do so for ever."""

MOST_KEPT = 10_000
"""Commissions that are known at the same time; what is known of one takes some kilobytes of memory."""

SWEEP_SECONDS = 60.0
"""How often results that have had their time are looked for."""

logger = logging.getLogger(__name__)


class Commissions:
    """Everything that was commissioned and is kept."""

    def __init__(self, settings: Settings, desk: Desk, studio: SharedStudio, metrics: Metrics) -> None:
        self._settings = settings
        self._desk = desk
        self._studio = studio
        self._metrics = metrics
        self._store = JobStore(settings.jobs_folder)
        self._room = asyncio.Semaphore(settings.max_running_jobs)
        self._kept: dict[str, Commission] = {}
        self._changing = asyncio.Lock()
        self._trouble: str | None = "the service is starting"
        metrics.jobs_bytes.set_function(self._bytes)
        for state in State:
            metrics.jobs.labels(state).set_function(partial(self._count, state))

    async def open(self) -> None:
        """Take up what an earlier process has left. Where that is impossible, jobs are refused with the reason.

        A folder that is not there is created with the first job.
        """
        if self._store.exists():
            await self._take_up()
        else:
            self._trouble = None

    async def _take_up(self) -> None:
        try:
            await asyncio.to_thread(self._store.open)
            for record, outcome in await asyncio.to_thread(lambda: list(self._store.load())):
                await self._restore(record, outcome)
        except OSError as error:
            self._trouble = f"the folder of the jobs cannot be used: {error.strerror}"
            logger.warning("no jobs: %s (%s)", self._trouble, self._settings.jobs_folder)
        else:
            self._trouble = None

    async def keep(self) -> None:
        """Forget results that have had their time, until cancelled."""
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self._settings.job_seconds))
            async with self._changing:
                if not self._store.is_open and self._store.exists():
                    await self._take_up()  # of another process, which may have ended
                await self._make_room(0)

    async def stop(self) -> None:
        """Leave what is unfinished to the next process."""
        tasks = [commission.task for commission in self._kept.values() if commission.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._store.close)

    def find(self, job: str) -> Commission:
        """The commission of that id; raises UnknownJob."""
        try:
            return self._kept[job]
        except KeyError:
            self._refuse_in_trouble()
            kept = self._settings.job_seconds
            raise UnknownJob(f"there is no job {job!r}; finished ones are kept for {kept:g} s at most") from None

    async def accept(
        self, job: str, brief: StylizeBrief | UpscaleBrief, body: Body, trace: Trace
    ) -> tuple[Commission, bool]:
        """The commission of that id, and whether it is new: the same brief and image give the same one again.

        Raises JobConflict where the id belongs to another one, TooManyJobs, JobsUnavailable.
        """
        brief = brief.unhurried()
        fingerprint = await asyncio.to_thread(_fingerprint, brief, body)
        async with self._changing:
            if (known := self._kept.get(job)) is not None:
                if known.record.fingerprint != fingerprint:
                    raise JobConflict(f"job {job!r} has another image or other parameters; choose another id")
                return known, False
            request_id, context = trace.request_id, trace.context
            record = Record(id=job, brief=brief, fingerprint=fingerprint, request_id=request_id, context=context)
            commission = Commission(record, Trace(request_id, context))
            await self._keep(commission, body)
        self._begin(commission)
        return commission, True

    async def result(self, commission: Commission) -> bytes:
        """The finished image; raises UnknownJob where it has just been forgotten."""
        try:
            return await asyncio.to_thread(self._store.result, commission.record.id)
        except FileNotFoundError as error:
            raise UnknownJob(f"job {commission.record.id!r} has been deleted") from error

    async def remove(self, job: str) -> None:
        """Cancel a commission, free the device of it, and forget it with its result; raises UnknownJob."""
        commission = self.find(job)
        if commission.task is not None:
            commission.task.cancel()
            await asyncio.wait((commission.task,))
        async with self._changing:
            if self._kept.get(job) is commission:
                await self._forget(commission)
                if commission.outcome is None:
                    self._metrics.jobs_ended.labels("cancelled").inc()
        commission.ended.set()

    async def _restore(self, record: Record, outcome: Outcome | None) -> None:
        trace = Trace(record.request_id, record.context)
        commission = Commission(record, trace, outcome, outcome.started if outcome else None)
        commission.bytes = await asyncio.to_thread(self._store.size, record.id)
        self._kept[record.id] = commission
        if outcome is None:
            self._begin(commission)
        else:
            commission.ended.set()

    async def _keep(self, commission: Commission, body: Body) -> None:
        if not self._store.is_open and self._trouble is None:
            await self._take_up()
        self._refuse_in_trouble()
        unfinished = self._count(State.QUEUED, State.RUNNING)
        if unfinished >= self._settings.max_jobs:
            raise _too_many(f"{unfinished} jobs are unfinished; at most {self._settings.max_jobs} are accepted")
        size = len(body.image) + len(body.mask or b"")
        if not await self._make_room(size):
            raise _too_many(f"unfinished jobs leave no room for {size} bytes; {self._settings.job_bytes} are kept")
        job = commission.record.id
        try:
            await asyncio.to_thread(self._store.create, commission.record, body)
            commission.bytes = await asyncio.to_thread(self._store.size, job)
        except OSError as error:
            raise JobsUnavailable(f"the job cannot be written: {error.strerror}") from error
        self._kept[job] = commission

    def _refuse_in_trouble(self) -> None:
        if self._trouble is not None:
            raise JobsUnavailable(f"{self._trouble}; a request without `Prefer: respond-async` needs no job")

    def _begin(self, commission: Commission) -> None:
        commission.task = asyncio.create_task(self._carry_out(commission))

    async def _carry_out(self, commission: Commission) -> None:
        """From the image to the result, or to a failure; Draining and a lost device leave it to the next process."""
        job = commission.record.id
        async with self._room:
            commission.started = datetime.now(UTC)
            try:
                painting = await self._painted(commission)
                outcome, content = Outcome(result=painting.result), painting.content
            except DeviceLost:
                return commission.ended.set()  # for whoever waits; the next process begins it again
            except (Draining, asyncio.CancelledError):
                await asyncio.to_thread(self._store.interrupt, job)
                return commission.ended.set()
            except ServiceError as failure:
                outcome, content = _failed(failure), b""
            except Exception:
                logger.exception("job %s failed", job)
                outcome, content = _failed(ServiceError("the service failed; its log has the cause")), b""
            return await self._finish(commission, outcome, content)

    async def _painted(self, commission: Commission) -> Painting:
        record = commission.record
        if await asyncio.to_thread(self._store.begin, record.id) >= MOST_ATTEMPTS:
            raise JobLost(f"the service ended {MOST_ATTEMPTS} times while it was at this image")
        body = await asyncio.to_thread(self._store.body, record.id)
        until = monotonic() + (record.brief.within or self._settings.job_timeout)
        while True:
            try:
                order = self._desk.order(record.brief, body.mask, self._settings.job_timeout)
                return await self._studio.paint(order, body.image, commission.trace)
            except (Overloaded, ModelUnavailable) as refusal:
                wait = float(refusal.headers.get("Retry-After", "inf"))
                if monotonic() + wait >= until:
                    raise
                await asyncio.sleep(wait)

    async def _finish(self, commission: Commission, outcome: Outcome, content: bytes) -> None:
        job = commission.record.id
        async with self._changing:
            commission.bytes = 0
            if not await self._make_room(len(content)):
                detail = f"the result has {len(content)} bytes; at most {self._settings.job_bytes} are kept of all jobs"
                outcome, content = _failed(ResultTooLarge(detail)), b""
            outcome = outcome.model_copy(update={"started": commission.started, "tiles": commission.tiles})
            commission.outcome = await self._written(job, outcome, content)
            commission.bytes = await asyncio.to_thread(self._store.size, job)
        self._record(commission)
        commission.ended.set()

    async def _written(self, job: str, outcome: Outcome, content: bytes) -> Outcome:
        """The outcome, as it could be kept."""
        try:
            await asyncio.to_thread(self._store.finish, job, outcome, content)
        except OSError as error:
            logger.exception("the result of job %s cannot be written", job)
            return _failed(JobsUnavailable(f"the result cannot be written: {error.strerror}"))
        return outcome

    def _record(self, commission: Commission) -> None:
        trace, record = commission.trace, commission.record
        self._metrics.jobs_ended.labels(commission.state).inc()
        measure_stages(self._metrics, trace)
        facts: dict[str, object] = {"job": record.id, "id": record.request_id, "state": commission.state.value}
        facts |= {"model": f"{trace.model}@{trace.version}"} if trace.model else {}
        failure = commission.outcome.failure if commission.outcome else None
        facts |= {"problem": failure.kind} if failure else {}
        log_line(logger, facts | (trace.context.facts() if trace.context else {}), trace.durations)

    async def _make_room(self, wanted: int) -> bool:
        """Forget finished commissions that have had their time, then the oldest ones; whether so many bytes fit."""
        old = datetime.now(UTC) - timedelta(seconds=self._settings.job_seconds)
        finished = [commission for commission in self._kept.values() if commission.outcome is not None]
        for commission in sorted(finished, key=lambda one: one.outcome.finished if one.outcome else old):
            late = commission.outcome is not None and commission.outcome.finished <= old
            if late or len(self._kept) > MOST_KEPT or self._bytes() + wanted > self._settings.job_bytes:
                await self._forget(commission)
        return self._bytes() + wanted <= self._settings.job_bytes

    async def _forget(self, commission: Commission) -> None:
        job = commission.record.id
        del self._kept[job]
        try:
            await asyncio.to_thread(self._store.remove, job)
        except OSError:
            logger.exception("job %s is forgotten, but remains on the disk", job)

    def _count(self, *states: State) -> int:
        return sum(commission.state in states for commission in self._kept.values())

    def _bytes(self) -> int:
        return sum(commission.bytes for commission in self._kept.values())


def _fingerprint(brief: StylizeBrief | UpscaleBrief, body: Body) -> str:
    """Of the files and of what is to be done with them; neither of its time nor of Accept's own words."""
    asked = brief.model_dump_json(exclude={"accept", "within"})
    formats = ",".join(brief.parameters.output(brief.accept).formats)
    files = [hashlib.sha256(file).digest() if file is not None else b"" for file in (body.image, body.mask)]
    return hashlib.sha256(b"\0".join([asked.encode(), formats.encode(), *files])).hexdigest()


def _failed(failure: ServiceError) -> Outcome:
    return Outcome(failure=Failed.of(failure))


def _too_many(detail: str) -> TooManyJobs:
    return TooManyJobs(f"{detail}; retry in 5 s", headers={"Retry-After": "5"}, retry_after=5)
