"""The life of an order: from the bytes of an image to those of another. No HTTP.

Each step that can refuse an order comes before what it would cost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

from model_store.allocator import give_back
from service.admission import Admission, Work
from service.batcher import Batcher
from service.errors import DeadlineExceeded, InvalidRequest, ServiceError
from service.jobs import Job, durations
from service.masks import Mask, inspected
from service.metrics import Metrics
from service.orders import Answer, Order
from service.photographs import (
    Header,
    ImageFormat,
    Limits,
    Photograph,
    Picture,
    Pixels,
    SourceType,
    decode,
    encode,
    inspect,
)
from service.served_models import ServedModel
from service.settings import Settings
from service.sizes import Size
from service.trace import Trace
from service.treatments import Plan, Subject

FRAMES_AHEAD = 8
"""Frames of a request that are in memory before they are painted."""

SMALL = 2**20
"""Bytes of a file up to which its header is read where the event loop runs."""

LARGE = 16_000_000
"""Output pixels from which an answer's memory is not kept for the next one."""

Jobs = Sequence[Job[ServedModel]]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Forecast:
    """What would become of an order, as far as that is known without its image."""

    plan: Plan
    pixels: int
    """Of everything that is made on the way."""
    refusal: ServiceError | None = None
    """Why it would be refused."""
    tiles: int | None = None
    """None where it is so large that nobody counts them; its seconds are not known then, either."""
    queue_seconds: float | None = None
    infer_seconds: float | None = None


@dataclass(frozen=True)
class Sitting:
    """An order that was admitted, and what it takes."""

    order: Order
    plan: Plan
    kind: ImageFormat
    jobs: Jobs
    trace: Trace

    def frames(self) -> Iterator[Jobs]:
        """The jobs of each frame."""
        step = len(self.plan.work)
        return (self.jobs[first : first + step] for first in range(0, len(self.jobs), step))

    @property
    def output_pixels(self) -> int:
        """Of everything that is made on the way."""
        return sum(job.output_pixels for job in self.jobs)


class Studio:
    """Where orders are carried out: a pool that decodes and encodes, and one device."""

    def __init__(
        self,
        settings: Settings,
        admission: Admission[ServedModel],
        batcher: Batcher[ServedModel],
        codecs: Executor,
        metrics: Metrics,
    ) -> None:
        self._limits = Limits(
            settings.max_pixels,
            settings.max_output_pixels,
            settings.max_whole_pixels,
            settings.max_frames,
            settings.max_queue_pixels,
        )
        self._admission = admission
        self._batcher = batcher
        self._codecs = codecs
        self._metrics = metrics

    def check(self, order: Order) -> None:
        """Refuse an order whose image has not been read while even the smallest one would be: raises as `paint`."""
        work = [Work(model, 1, 1) for model in order.treatment.models]
        self._admission.check(work, order.terms.deadline(), order.terms.priority, silent=order.terms.silent)

    def forecast(self, order: Order, header: Header) -> Forecast:
        """What would become of an order now, and when; raises what `paint` does where it makes no sense at all."""
        kind = order.output.choose(header)
        plan = _planned(order, header, kind)
        pixels = plan.pixels * header.frames
        try:
            self._check_limits(header, plan, kind)
        except ServiceError as refusal:
            return Forecast(plan, pixels, refusal)
        work, deadline = list(plan.work) * header.frames, order.terms.deadline()
        jobs = self._admission.jobs_of(work, deadline, order.terms.priority)
        known = sum(job.count for job in jobs), *self._admission.forecast(*jobs)
        try:
            self._admission.check(work, deadline, order.terms.priority, silent=order.terms.silent)
        except ServiceError as refusal:
            return Forecast(plan, pixels, refusal, *known)
        return Forecast(plan, pixels, None, *known)

    async def paint(self, order: Order, data: bytes, trace: Trace) -> Answer:
        """Carry out an order on the bytes of an image. Cancelling it frees its place, in the middle if need be.

        Raises the ServiceError that says why there is no answer: of the photographs for what is wrong with the image,
        of the treatment for what cannot be done with it, of the admission for what cannot be done in time,
        DeadlineExceeded, or what the device says.
        """
        header = await _inspected(data)
        kind = order.output.choose(header)
        plan = _planned(order, header, kind)
        self._check_limits(header, plan, kind)
        self._check_mask(order, header)
        work = list(plan.work) * header.frames
        terms = order.terms
        with self._admission.admit(work, terms.deadline(), terms.priority, silent=terms.silent) as jobs:
            trace.jobs.extend(jobs)
            content = await self._in_time(Sitting(order, plan, kind, jobs, trace), data)
        for job in jobs:
            self._metrics.output_pixels.labels(job.model.name).inc(job.output_pixels)
        return Answer(content, kind, order.treatment.models)

    def _check_limits(self, header: Header, plan: Plan, kind: ImageFormat) -> None:
        limits, frames = self._limits, header.frames
        limits.check_input(header)
        for one in plan.work:
            limits.check_pass(one.height * one.width, tileable=one.model.manifest.tileable)
            limits.check_result(one.output_pixels, frames)
        limits.check_side(max(plan.answer), kind)
        limits.check_work(plan.pixels * frames)

    def _check_mask(self, order: Order, header: Header) -> None:
        if order.mask is not None:
            self._limits.check_input(inspected(order.mask, Size(*header.upright)))
        elif order.treatment.needs_mask:
            raise InvalidRequest("feather softens the edges of a mask; send a form with the parts 'image' and 'mask'")

    async def _in_time(self, sitting: Sitting, data: bytes) -> bytes:
        deadline, admitted = sitting.jobs[0].deadline, sitting.jobs[0].admitted
        try:
            async with asyncio.timeout(deadline - monotonic()):
                return await self._painted(sitting, data)
        except TimeoutError as error:
            seconds = deadline - admitted
            detail = f"the answer was not ready in {seconds:.3g} s; send a smaller image, or a larger X-Request-Timeout"
            raise DeadlineExceeded(detail) from error

    async def _painted(self, sitting: Sitting, data: bytes) -> bytes:
        """Decode, run and encode. The pool bounds how many images are decoded at once; the batcher has the device."""
        order, trace, kind = sitting.order, sitting.trace, sitting.kind
        with trace.stage("decode"):
            photograph = await self._in_pool(partial(decode, data, grey=order.model.enlarges, deep=kind.is_deep))
            mask = None if order.mask is None else await self._in_pool(Mask.decoded, order.mask)
        pictures = await self._each_frame(sitting, photograph, mask)
        made = SourceType.ENLARGED if order.model.enlarges else SourceType.PAINTED
        with trace.stage("encode"):
            answer = await self._in_pool(encode, pictures, photograph, kind, order.output, made)
        if sitting.output_pixels >= LARGE:
            await self._in_pool(give_back)
        return answer

    async def _each_frame(self, sitting: Sitting, photograph: Photograph, mask: Mask | None) -> list[Picture]:
        """What becomes of the frames, decoded in order and not long before they can run."""
        room = asyncio.Semaphore(FRAMES_AHEAD)

        async def one(jobs: Jobs, picture: Picture) -> Picture:
            try:
                return await self._treated(sitting, jobs, Subject(picture, photograph.space, mask))
            finally:
                room.release()

        try:
            async with asyncio.TaskGroup() as group:
                frames = []
                for jobs in sitting.frames():
                    await room.acquire()
                    with sitting.trace.stage("decode"):
                        picture = await self._in_pool(next, photograph.pictures)
                    frames.append(group.create_task(one(jobs, picture)))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return [frame.result() for frame in frames]

    async def _treated(self, sitting: Sitting, jobs: Jobs, subject: Subject) -> Picture:
        """One frame, and what its treatment makes of it."""
        treatment, trace = sitting.order.treatment, sitting.trace
        with trace.stage("decode"):
            pixels = await self._in_pool(treatment.prepared, subject)
        try:
            results = await (self._chained if sitting.plan.chained else self._side_by_side)(jobs, pixels)
        finally:
            trace.durations |= durations(sitting.jobs)
        with trace.stage("encode"):
            return await self._in_pool(treatment.finished, subject, results)

    async def _chained(self, jobs: Jobs, pixels: Pixels) -> list[Pixels]:
        """What the last network made of what those before it made."""
        for job in jobs:
            pixels = await self._batcher.submit(job, pixels)
        return [pixels]

    async def _side_by_side(self, jobs: Jobs, pixels: Pixels) -> list[Pixels]:
        return await _all(self._batcher.submit(job, pixels) for job in jobs)

    async def _in_pool(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._codecs, function, *arguments)


def _planned(order: Order, header: Header, kind: ImageFormat) -> Plan:
    plan = order.treatment.plan(Size(*header.upright))
    return plan.exact() if header.depth == 16 and kind.is_deep else plan


async def _all(works: Iterable[Awaitable[Result]]) -> list[Result]:
    """What all give; where one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _inspected(data: bytes) -> Header:
    """The header of an image; of a small file at once: while one waits, others come in only to be refused."""
    return inspect(data) if len(data) <= SMALL else await asyncio.to_thread(inspect, data)
