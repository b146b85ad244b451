"""Decides what runs next on the device: admission, the queue, and what shares a batch. No HTTP, no torch.

There is no batch timer. Whenever the device has room, the job that has waited longest runs, together with every other
that fits; while the device is busy, batches therefore grow by themselves, and an idle device never waits. The oldest
job is always in the next batch, so none starves.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, Protocol, TypeVar

from service.codec import Pixels
from service.errors import DeadlineExceeded, DeviceLost, Draining, Overloaded
from service.metrics import Metrics


class Network(Protocol):
    """What the batcher must know of a model; jobs share a batch only where it is the same object."""

    @property
    def name(self) -> str:
        """The metric label."""

    @property
    def scale(self) -> int:
        """Output side over input side."""


Model = TypeVar("Model", bound=Network)

Run = Callable[[Model, list[Pixels]], Awaitable[list[Pixels]]]
"""Runs one batch of equal shapes on the device and gives its results in the same order."""


@dataclass(frozen=True)
class QueueLimits:
    """How much work is taken on. Pixels are those of the output, to which the work of every network is proportional."""

    requests: int
    pixels: int
    batch_pixels: int


@dataclass(eq=False)
class Job(Generic[Model]):
    """One image on its way through one network: what it costs, when it was where, and how its result gets back."""

    model: Model
    output_pixels: int
    deadline: float
    image: Pixels | None = None
    result: asyncio.Future[Pixels] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    queued: float = 0.0
    started: float = 0.0
    finished: float = 0.0

    def waited(self) -> float:
        """Seconds that it has waited, or did wait, for the device."""
        return (self.started or self.finished or monotonic()) - self.queued if self.queued else 0.0

    def durations(self) -> dict[str, float]:
        """Seconds of the stages that it has reached: queue, and infer with its batch mates."""
        stages = {"queue": self.waited()}
        return stages | {"infer": (self.finished or monotonic()) - self.started} if self.started else stages

    def fits(self, other: "Job[Model]") -> bool:
        """Whether the two can be one batch: the same network (of the same version) and the same shape."""
        assert self.image is not None
        assert other.image is not None
        return self.model is other.model and self.image.shape == other.image.shape


class Pace:
    """Seconds that the device takes per output pixel, as measured, recent batches counting most."""

    MEMORY = 0.9

    def __init__(self) -> None:
        self._seconds = 0.0
        self._pixels = 0.0

    def measured(self, pixels: int, seconds: float) -> None:
        """Take a finished batch into account."""
        self._seconds = self.MEMORY * self._seconds + seconds
        self._pixels = self.MEMORY * self._pixels + pixels

    def seconds(self, pixels: int) -> float:
        """How long that many pixels take, 0 before anything was measured."""
        return pixels * self._seconds / self._pixels if self._pixels else 0.0


class Batcher(Generic[Model]):
    """Bounded admission before one queue before one device."""

    def __init__(self, run: Run[Model], limits: QueueLimits, metrics: Metrics) -> None:
        self._run = run
        self._limits = limits
        self._metrics = metrics
        self._pace = Pace()
        self._admitted: dict[Job[Model], None] = {}
        self._waiting: dict[Job[Model], None] = {}
        self._arrival = asyncio.Event()
        self._released = asyncio.Event()
        self._draining = False
        metrics.admitted_requests.set_function(lambda: len(self._admitted))
        metrics.admitted_pixels.set_function(self.admitted_pixels)
        metrics.queue_requests.set_function(lambda: len(self._waiting))
        metrics.queue_oldest_age.set_function(self.oldest_age)
        metrics.backlog.set_function(self.backlog_seconds)

    @property
    def draining(self) -> bool:
        """Whether nothing is admitted any more."""
        return self._draining

    def admitted_pixels(self) -> int:
        """Output pixels of everything admitted and not yet answered."""
        return sum(job.output_pixels for job in self._admitted)

    def backlog_seconds(self) -> float:
        """When everything admitted will be done, as far as is known from the batches so far."""
        return self._pace.seconds(self.admitted_pixels())

    def oldest_age(self) -> float:
        """How long the first in the queue has waited."""
        return max((job.waited() for job in self._waiting), default=0.0)

    def check(self, output_pixels: int) -> None:
        """Raise what `admit` would for that many pixels."""
        if self._draining:
            raise Draining
        limits, pixels = self._limits, self.admitted_pixels() + output_pixels
        if len(self._admitted) >= limits.requests:
            raise self._overloaded("requests", len(self._admitted) + 1, limits.requests)
        if pixels > limits.pixels:
            raise self._overloaded("output pixels", pixels, limits.pixels)

    @contextmanager
    def admit(self, model: Model, output_pixels: int, deadline: float) -> Iterator[Job[Model]]:
        """Room for one image, from before it is decoded until its answer is encoded; the block's end gives it back.

        `deadline` is a time of `time.monotonic`. Raises Draining, or Overloaded with the time until there is room.
        """
        self.check(output_pixels)
        self._check_time(output_pixels, deadline)
        job = Job(model, output_pixels, deadline)
        self._admitted[job] = None
        try:
            yield job
        finally:
            del self._admitted[job]
            if not job.result.cancel() and not job.result.cancelled():
                job.result.exception()  # seen, though nobody may have waited for it
            self._released.set()

    async def submit(self, job: Job[Model], image: Pixels) -> Pixels:
        """Queue an admitted job and wait for its result. Cancelling the wait takes it out of the queue."""
        if job.result.done():  # drained while it was decoded
            return await job.result
        job.image, job.queued = image, monotonic()
        self._waiting[job] = None
        self._arrival.set()
        try:
            return await job.result
        finally:
            self._waiting.pop(job, None)

    async def serve(self) -> None:
        """Run batches, one at a time, until cancelled. What fails, fails its jobs alone, and the loop goes on.

        Only DeviceLost ends it, when it has reached every waiter: no batch could run any more.
        """
        while True:
            await self._arrival.wait()
            batch = self._take()
            if batch:
                await self._execute(batch)
            else:
                self._arrival.clear()

    async def drain(self, seconds: float) -> None:
        """Admit nothing more, wait so long for what was admitted, and answer the rest with Draining."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._until_empty()
        except TimeoutError:
            self._fail(list(self._admitted), Draining())
            await asyncio.sleep(0)  # let the waiters go on with that

    def _check_time(self, output_pixels: int, deadline: float) -> None:
        """Refuse now what would wait in vain. What finds the service empty is let in: the pace may be wrong for it."""
        seconds = self._pace.seconds(self.admitted_pixels() + output_pixels)
        left = deadline - monotonic()
        if self._admitted and 0 < left < seconds:
            raise self._overloaded("seconds of work", math.ceil(seconds), math.floor(left))

    async def _until_empty(self) -> None:
        while self._admitted:
            self._released.clear()
            await self._released.wait()

    def _overloaded(self, what: str, actual: int, accepted: int) -> Overloaded:
        wait = max(1, math.ceil(self.backlog_seconds()))
        return Overloaded(
            f"with this request {actual} {what} would be admitted, {accepted} are accepted; retry in {wait} s",
            headers={"Retry-After": str(wait)},
            retry_after=wait,
        )

    def _take(self) -> list[Job[Model]]:
        """The oldest job and, in order of arrival, what fits to it, up to the pixel budget; empty if none waits."""
        self._give_up_what_is_late()
        batch: list[Job[Model]] = []
        budget = self._limits.batch_pixels
        for job in self._waiting:
            if not batch or (job.fits(batch[0]) and job.output_pixels <= budget):
                batch.append(job)
                budget -= job.output_pixels
        for job in batch:
            del self._waiting[job]
            job.started = monotonic()
        return batch

    def _give_up_what_is_late(self) -> None:
        now = monotonic()
        late = [job for job in self._waiting if job.deadline <= now]
        self._fail(late, DeadlineExceeded("the time for this request ran out while it waited for the device"))

    async def _execute(self, batch: Sequence[Job[Model]]) -> None:
        """Run the batch and hand out its results; one that fails is split until the culprit fails alone."""
        jobs = [job for job in batch if not job.result.done()]
        if not jobs:
            return
        try:
            finished = await self._timed(jobs)
        except asyncio.CancelledError:
            self._fail(jobs, Draining())
            raise
        except Exception as error:  # whatever it is, it is the waiters' to know
            if isinstance(error, DeviceLost):
                self._fail(list(self._admitted), error)
                raise
            if len(jobs) == 1:
                self._fail(jobs, error)
                return
            self._metrics.batches_bisected.labels(jobs[0].model.name).inc()
            await self._execute(jobs[: len(jobs) // 2])
            await self._execute(jobs[len(jobs) // 2 :])
        else:
            for job, result in finished:
                _finish(job, result)

    async def _timed(self, jobs: Sequence[Job[Model]]) -> list[tuple[Job[Model], Pixels]]:
        name, pixels = jobs[0].model.name, sum(job.output_pixels for job in jobs)
        self._metrics.batch_size.labels(name).observe(len(jobs))
        self._metrics.batch_pixels.labels(name).observe(pixels)
        began = monotonic()
        results = await self._run(jobs[0].model, [job.image for job in jobs if job.image is not None])
        self._pace.measured(pixels, monotonic() - began)
        return list(zip(jobs, results, strict=True))

    def _fail(self, jobs: Sequence[Job[Model]], error: Exception) -> None:
        for job in jobs:
            self._waiting.pop(job, None)
            if not job.result.done():
                job.finished = monotonic()
                job.result.set_exception(error)


def _finish(job: Job[Model], result: Pixels) -> None:
    job.finished = monotonic()
    if not job.result.done():
        job.result.set_result(result)
