"""The image pipeline: from the bytes of an image to those of the answer. Imports no HTTP library.

Each step that can refuse a request comes before the work that it would save.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

from model_store.allocator import trim_heap
from service.engine.admission import Admission
from service.engine.inference_request import InferenceRequest, InferenceSpec, stage_seconds
from service.engine.scheduler import Scheduler
from service.errors import CorruptImage, DeadlineExceeded, InvalidRequest, ServiceError
from service.imaging.codecs import (
    DecodedImage,
    Header,
    ImageFormat,
    ImageLimits,
    Picture,
    Pixels,
    SourceType,
    decode,
    encode,
    inspect,
)
from service.imaging.masks import Mask, inspect_mask
from service.imaging.sizes import Size
from service.models.registry import ServedModel
from service.pipeline.operation import Frame, Plan
from service.pipeline.resolve import ResolvedRequest
from service.pipeline.result import EncodedImage
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.metrics import Metrics

FRAMES_AHEAD = 8
"""Frames of one request that are decoded and not yet processed, at most."""

INLINE_INSPECTION_BYTES = 2**20
"""The size of a file up to which its header is read on the event loop."""

TRIM_PIXELS = 16_000_000
"""Output pixels from which the memory of an answer is given back to the system at once."""

Inferences = Sequence[InferenceRequest[ServedModel]]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Forecast:
    """What would become of a request, as far as that is known without its image."""

    plan: Plan
    pixels: int
    """Output pixels of all its inferences."""
    inferences: int
    """Its inference requests: one for each frame and network."""
    refusal: ServiceError | None = None
    """Why it would be refused; None where it would be accepted."""
    tiles: int | None = None
    """None, like the seconds, where a limit refuses it before its tiles are planned."""
    queue_seconds: float | None = None
    infer_seconds: float | None = None


@dataclass(frozen=True)
class Execution:
    """A request that was admitted, with what it needs on its way."""

    request: ResolvedRequest
    plan: Plan
    format: ImageFormat
    inferences: Inferences
    trace: Trace

    def by_frame(self) -> Iterator[Inferences]:
        """The inference requests of each frame."""
        step = len(self.plan.inferences)
        return (self.inferences[first : first + step] for first in range(0, len(self.inferences), step))

    @property
    def output_pixels(self) -> int:
        """Output pixels of all its inferences."""
        return sum(inference.spec.output_pixels for inference in self.inferences)


class ImagePipeline:
    """Carries out resolved requests: a pool of codec threads, and one device behind admission and scheduler."""

    def __init__(
        self,
        settings: Settings,
        admission: Admission[ServedModel],
        scheduler: Scheduler[ServedModel],
        codecs: Executor,
        metrics: Metrics,
    ) -> None:
        self._limits = ImageLimits(
            settings.max_pixels,
            settings.max_output_pixels,
            settings.max_whole_pixels,
            settings.max_frames,
            settings.max_queue_pixels,
            settings.max_queue_inferences,
        )
        self._admission = admission
        self._scheduler = scheduler
        self._codecs = codecs
        self._metrics = metrics

    def check(self, request: ResolvedRequest) -> None:
        """Refuse a request before its body is read, where even the smallest image would be. Raises as `run` does."""
        deadline = request.deadline
        specs = [InferenceSpec(model, 1, 1) for model in request.operation.models]
        self._admission.check(specs, deadline.at(), deadline.priority, default_timeout=deadline.is_default)

    def forecast(self, request: ResolvedRequest, header: Header) -> Forecast:
        """What would become of a request now. Raises as `run` does where it could be accepted at no time."""
        kind = request.output.choose_format(header)
        plan = _plan(request, header, kind)
        frames, specs, deadline = header.frames, plan.inferences, request.deadline
        size = plan.pixels * frames, len(specs) * frames
        try:
            self._check_limits(header, plan, kind)
        except ServiceError as refusal:
            return Forecast(plan, *size, refusal)
        until, priority, default = deadline.at(), deadline.priority, deadline.is_default
        inferences = self._admission.new_requests(specs, until, priority, default_timeout=default)
        tiles = frames * sum(inference.tile_count for inference in inferences)
        seconds = self._admission.forecast(*inferences, frames=frames)
        try:
            self._admission.check(specs, until, priority, default_timeout=default, frames=frames)
        except ServiceError as refusal:
            return Forecast(plan, *size, refusal, tiles, *seconds)
        return Forecast(plan, *size, None, tiles, *seconds)

    async def run(self, request: ResolvedRequest, image: bytes, trace: Trace) -> EncodedImage:
        """Carry out a request on the bytes of an image. Cancelling it frees its place, in the middle if need be.

        Raises the ServiceError that says why there is no answer: from the codecs for a broken or unsupported image,
        from the operation for what cannot be done with it, Overloaded or Draining from admission, DeadlineExceeded, or
        what the device raises.
        """
        header = await _inspect(image)
        kind = request.output.choose_format(header)
        plan = _plan(request, header, kind)
        self._check_limits(header, plan, kind)
        self._check_mask(request, header)
        until, priority, default = request.deadline.at(), request.deadline.priority, request.deadline.is_default
        with self._admission.admit(
            plan.inferences, until, priority, default_timeout=default, frames=header.frames
        ) as inferences:
            trace.inferences.extend(inferences)
            content = await self._before_deadline(Execution(request, plan, kind, inferences, trace), image)
        for inference in inferences:
            self._metrics.output_pixels.labels(inference.model.name).inc(inference.spec.output_pixels)
        return EncodedImage(content, kind, plan.answer, request.operation.models)

    def _check_limits(self, header: Header, plan: Plan, kind: ImageFormat) -> None:
        limits, frames = self._limits, header.frames
        limits.check_input(header)
        for spec in plan.inferences:
            limits.check_pass(spec.height * spec.width, tileable=spec.model.manifest.tileable)
            limits.check_result(spec.output_pixels, frames)
        limits.check_side(max(plan.answer), kind)
        limits.check_work(plan.pixels * frames)
        limits.check_inferences(frames, len(plan.inferences))

    def _check_mask(self, request: ResolvedRequest, header: Header) -> None:
        if request.mask is not None:
            photo = Size(*header.upright_size)
            self._limits.check_input(inspect_mask(request.mask, photo, request.mask_meaning))
        elif request.operation.needs_mask:
            raise InvalidRequest("feather softens the edges of a mask; send a form with the parts 'image' and 'mask'")

    async def _before_deadline(self, execution: Execution, image: bytes) -> bytes:
        try:
            async with asyncio.timeout(execution.inferences[0].deadline - monotonic()):
                return await self._execute(execution, image)
        except TimeoutError as error:
            seconds = execution.request.deadline.seconds
            detail = f"the answer was not ready in {seconds:.3g} s; send a smaller image, or a larger X-Request-Timeout"
            raise DeadlineExceeded(detail) from error

    async def _execute(self, execution: Execution, data: bytes) -> bytes:
        """Decode, run the operation on each frame, encode."""
        request, trace, kind = execution.request, execution.trace, execution.format
        upscales = request.model.upscales
        with trace.stage("decode"):
            image = await self._in_pool(partial(decode, data, keep_grey=upscales, keep_16_bit=kind.supports_16_bit))
            mask = await self._decode_mask(request)
        pictures = await self._process_frames(execution, image, mask)
        source_type = SourceType.UPSCALED if upscales else SourceType.STYLIZED
        with trace.stage("encode"):
            content = await self._in_pool(encode, pictures, image, kind, request.output, source_type)
        if execution.output_pixels >= TRIM_PIXELS:
            await self._in_pool(trim_heap)
        return content

    async def _decode_mask(self, request: ResolvedRequest) -> Mask | None:
        if request.mask is None:
            return None
        return await self._in_pool(Mask.decode, request.mask, request.mask_meaning)

    async def _process_frames(self, execution: Execution, image: DecodedImage, mask: Mask | None) -> list[Picture]:
        """The processed frames, in order. A frame is decoded shortly before it can run."""
        room = asyncio.Semaphore(FRAMES_AHEAD)

        async def process(inferences: Inferences, picture: Picture) -> Picture:
            try:
                return await self._process(execution, inferences, Frame(picture, image.space, mask))
            finally:
                room.release()

        try:
            async with asyncio.TaskGroup() as group:
                tasks = []
                for inferences in execution.by_frame():
                    await room.acquire()
                    with execution.trace.stage("decode"):
                        picture = await self._in_pool(_next_picture, image)
                    tasks.append(group.create_task(process(inferences, picture)))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return [task.result() for task in tasks]

    async def _process(self, execution: Execution, inferences: Inferences, frame: Frame) -> Picture:
        """Preprocess, infer, postprocess."""
        operation, trace = execution.request.operation, execution.trace
        with trace.stage("decode"):
            pixels = await self._in_pool(operation.preprocess, frame)
        try:
            infer = self._infer_chain if execution.plan.chained else self._infer_each
            outputs = await infer(inferences, pixels)
        finally:
            trace.durations |= stage_seconds(execution.inferences)
        with trace.stage("encode"):
            return await self._in_pool(operation.postprocess, frame, outputs)

    async def _infer_chain(self, inferences: Inferences, pixels: Pixels) -> list[Pixels]:
        """The output of the last network, each of which gets the output of the one before it."""
        for inference in inferences:
            pixels = await self._scheduler.submit(inference, pixels)
        return [pixels]

    async def _infer_each(self, inferences: Inferences, pixels: Pixels) -> list[Pixels]:
        """The output of every network for the same input."""
        return await _gather(self._scheduler.submit(inference, pixels) for inference in inferences)

    async def _in_pool(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._codecs, function, *arguments)


def _plan(request: ResolvedRequest, header: Header, kind: ImageFormat) -> Plan:
    plan = request.operation.plan(Size(*header.upright_size))
    return plan.in_fp32() if header.depth == 16 and kind.supports_16_bit else plan


def _next_picture(image: DecodedImage) -> Picture:
    """The next frame. Raises CorruptImage where there is none, as StopIteration cannot leave an executor."""
    picture = next(image.pictures, None)
    if picture is None:
        raise CorruptImage(f"the image has fewer frames than the {image.header.frames} that it declares")
    return picture


async def _gather(awaitables: Iterable[Awaitable[Result]]) -> list[Result]:
    """Their results. Where one fails, the others are cancelled, and have ended when its exception is raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _inspect(image: bytes) -> Header:
    """The header of an image. A small file is read at once, which costs less than the way to a thread and back."""
    return inspect(image) if len(image) <= INLINE_INSPECTION_BYTES else await asyncio.to_thread(inspect, image)
