"""The image pipeline: from the bytes of an image to those of the answer. Imports no HTTP library.

Each step that can refuse a request comes before the work that it would save.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import TypeVar

from model_store.allocator import trim_heap
from service.engine.admission import Admission
from service.engine.inference_request import InferenceRequest, InferenceSpec, stage_seconds
from service.engine.scheduler import Scheduler
from service.errors import DeadlineExceeded, InvalidRequest, ServiceError, name_exhaustion
from service.imaging.blending import mix
from service.imaging.codecs import Header, ImageFormat, ImageLimits, MetadataPolicy, Pixels, SourceType
from service.imaging.damage import Damage
from service.imaging.sizes import Size
from service.imaging.workers.codecs import Codecs
from service.imaging.workers.image_tasks import DecodedFrames, DecodeRequest, EncodeRequest
from service.models.registry import ServedModel
from service.pipeline.operation import Plan
from service.pipeline.resolve import ResolvedRequest
from service.pipeline.result import EncodedImage
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.metrics import Metrics

FRAMES_AT_ONCE = 8
"""Frames of one request whose tiles are queued at the same time, at most."""

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
    header: Header
    mask_pixels: int
    """Of the file of the mask; 0 without one."""
    trace: Trace

    def by_frame(self) -> Iterator[Inferences]:
        """The inference requests of each frame."""
        step = len(self.plan.inferences)
        return (self.inferences[first : first + step] for first in range(0, len(self.inferences), step))

    @property
    def output_pixels(self) -> int:
        """Output pixels of all its inferences."""
        return sum(inference.spec.output_pixels for inference in self.inferences)

    @property
    def decoded_pixels(self) -> int:
        """Of the files, and of what the networks get."""
        files = self.header.pixels + self.mask_pixels
        return files + sum(inference.spec.height * inference.spec.width for inference in self.inferences)

    @property
    def encoded_pixels(self) -> int:
        """Of the networks' outputs, and of the answer."""
        frames = len(self.inferences) // len(self.plan.inferences)
        return self.output_pixels + frames * self.plan.answer.pixels

    def decode_request(self, image: bytes) -> DecodeRequest:
        """How the image becomes the inputs of the networks."""
        request = self.request
        return DecodeRequest(
            image,
            self.header,
            request.mask,
            request.mask_meaning,
            self.plan.transform,
            keep_grey=request.model.upscales,
            keep_16_bit=self.format.supports_16_bit,
            keep_metadata=request.output.metadata is not MetadataPolicy.STRIP,
        )

    def encode_request(self, decoded: DecodedFrames, outputs: Sequence[Sequence[Pixels]]) -> EncodeRequest:
        """How the outputs of the networks become the answer."""
        request = self.request
        source_type = SourceType.UPSCALED if request.model.upscales else SourceType.STYLIZED
        transform, frames = self.plan.transform, decoded.frames
        return EncodeRequest(frames, tuple(outputs), transform, decoded.image, self.format, request.output, source_type)


class ImagePipeline:
    """Carries out resolved requests: codecs in worker processes, and one device behind admission and scheduler."""

    def __init__(
        self,
        settings: Settings,
        admission: Admission[ServedModel],
        scheduler: Scheduler[ServedModel],
        codecs: Codecs,
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
        inferences = self._admission.new_requests(specs, until, priority, default_timeout=default, frames=frames)
        tiles = frames * sum(inference.tile_count for inference in inferences)
        seconds = self._admission.forecast(*inferences, frames=frames)
        try:
            self._admission.check(specs, until, priority, default_timeout=default, frames=frames)
        except ServiceError as refusal:
            return Forecast(plan, *size, refusal, tiles, *seconds)
        return Forecast(plan, *size, None, tiles, *seconds)

    async def inspect(self, image: bytes) -> Header:
        """The header of an image. Raises what the codecs raise for a broken or unsupported one, and OutOfResources."""
        with name_exhaustion():
            return await self._codecs.inspect(image)

    async def measure(self, request: ResolvedRequest, image: bytes) -> int:
        """Output pixels of all inferences that a request needs. Raises as `run` does before admission."""
        header = await self.inspect(image)
        kind = request.output.choose_format(header)
        plan = _plan(request, header, kind)
        self._check_limits(header, plan, kind)
        return plan.pixels * header.frames

    async def run(self, request: ResolvedRequest, image: bytes, trace: Trace) -> EncodedImage:
        """Carry out a request on the bytes of an image. Cancelling it frees its place, in the middle if need be.

        Raises the ServiceError that says why there is no answer: from the codecs for a broken or unsupported image,
        from the operation for what cannot be done with it, Overloaded or Draining from admission, DeadlineExceeded,
        OutOfResources, or what the device raises.
        """
        with name_exhaustion():
            return await self._run(request, image, trace)

    async def _run(self, request: ResolvedRequest, image: bytes, trace: Trace) -> EncodedImage:
        header = await self.inspect(image)
        kind = request.output.choose_format(header)
        plan = _plan(request, header, kind)
        self._check_limits(header, plan, kind)
        mask_pixels = await self._check_mask(request, header)
        if request.operation.damaged:
            request = await self._assess(request, image, header, trace)
            plan = _plan(request, header, kind)
        until, priority, default = request.deadline.at(), request.deadline.priority, request.deadline.is_default
        with self._admission.admit(
            plan.inferences, until, priority, default_timeout=default, frames=header.frames
        ) as inferences:
            trace.inferences.extend(inferences)
            execution = Execution(request, plan, kind, inferences, header, mask_pixels, trace)
            async with _time_until(inferences[0].deadline, request.deadline.seconds):
                content = await self._execute(execution, image)
        for inference in inferences:
            self._metrics.output_pixels.labels(inference.model.name).inc(inference.spec.output_pixels)
        return EncodedImage(content, kind, plan.answer, plan.models, request.operation.verdict)

    async def _assess(self, request: ResolvedRequest, image: bytes, header: Header, trace: Trace) -> ResolvedRequest:
        """The request with the networks for this image. An animation counts as clean. Raises as `run` does."""
        deadline, operation = request.deadline, request.operation
        specs, until = operation.plan(Size(*header.upright_size)).inferences, deadline.at()
        self._admission.check(
            specs, until, deadline.priority, default_timeout=deadline.is_default, frames=header.frames
        )
        with trace.stage("assess"):
            async with _time_until(until, deadline.seconds):
                damage = Damage() if header.frames > 1 else await self._codecs.assess(image, header)
        return replace(request, operation=operation.for_image(damage))

    def _check_limits(self, header: Header, plan: Plan, kind: ImageFormat) -> None:
        limits, frames = self._limits, header.frames
        limits.check_input(header)
        for spec in plan.inferences:
            network = spec.model.manifest.network
            share = network.share_of_whole_pixels
            limits.check_pass(spec.height * spec.width, whole=network.needs_whole_image, share=share)
            limits.check_result(spec.output_pixels, frames)
        limits.check_side(max(plan.answer), kind)
        limits.check_work(plan.pixels * frames)
        limits.check_inferences(frames, len(plan.inferences))

    async def _check_mask(self, request: ResolvedRequest, header: Header) -> int:
        """The pixels of the mask, 0 where there is none. Raises InvalidRequest, or what the codecs raise."""
        if request.mask is not None:
            photo = Size(*header.upright_size)
            mask = await self._codecs.inspect_mask(request.mask, photo, request.mask_meaning)
            self._limits.check_input(mask)
            return mask.pixels
        if request.operation.needs_mask:
            raise InvalidRequest("feather softens the edges of a mask; send a form with the parts 'image' and 'mask'")
        return 0

    async def _execute(self, execution: Execution, image: bytes) -> bytes:
        """Decode, run the networks on each frame, encode."""
        trace = execution.trace
        with trace.stage("decode"):
            decoded = await self._codecs.decode(execution.decode_request(image), execution.decoded_pixels)
        try:
            outputs = await self._infer_frames(execution, decoded.inputs)
        finally:
            trace.add(stage_seconds(execution.inferences))
        with trace.stage("encode"):
            request = execution.encode_request(decoded, outputs)
            del decoded, outputs  # the worker has its own
            content = await self._codecs.encode(request, execution.encoded_pixels)
        if execution.output_pixels >= TRIM_PIXELS:
            await asyncio.to_thread(trim_heap)
        return content

    async def _infer_frames(self, execution: Execution, inputs: Sequence[Pixels]) -> list[list[Pixels]]:
        """The outputs for each frame, in order."""
        room, weights = asyncio.Semaphore(FRAMES_AT_ONCE), execution.plan.weights

        async def infer_frame(inferences: Inferences, pixels: Pixels) -> list[Pixels]:
            async with room:
                return await self._infer_frame(inferences, pixels, weights)

        frames = zip(execution.by_frame(), inputs, strict=True)
        return await _gather(infer_frame(inferences, pixels) for inferences, pixels in frames)

    async def _infer_frame(self, inferences: Inferences, pixels: Pixels, weights: Sequence[float]) -> list[Pixels]:
        """The outputs of the networks that get the frame; or that of the last one of a chain after them."""
        outputs = await self._infer_each(inferences[: len(weights)], pixels)
        chain = inferences[len(weights) :]
        if not chain:
            return outputs
        return [await self._infer_chain(chain, await asyncio.to_thread(mix, outputs, weights))]

    async def _infer_chain(self, inferences: Inferences, pixels: Pixels) -> Pixels:
        """The output of the last network, each of which gets the output of the one before it."""
        for inference in inferences:
            pixels = await self._scheduler.submit(inference, pixels)
        return pixels

    async def _infer_each(self, inferences: Inferences, pixels: Pixels) -> list[Pixels]:
        """The output of every network for the same input."""
        return await _gather(self._scheduler.submit(inference, pixels) for inference in inferences)


@asynccontextmanager
async def _time_until(deadline: float, seconds: float) -> AsyncIterator[None]:
    """Raise DeadlineExceeded where the block has not ended by that time of `time.monotonic`, after so many seconds."""
    try:
        async with asyncio.timeout(deadline - monotonic()):
            yield
    except TimeoutError as error:
        detail = f"the answer was not ready in {seconds:g} s; send a smaller image, or a larger X-Request-Timeout"
        raise DeadlineExceeded(detail) from error


def _plan(request: ResolvedRequest, header: Header, kind: ImageFormat) -> Plan:
    plan = request.operation.plan(Size(*header.upright_size))
    return plan.in_fp32() if header.depth == 16 and kind.supports_16_bit else plan


async def _gather(awaitables: Iterable[Awaitable[Result]]) -> list[Result]:
    """Their results. Where one fails, the others are cancelled, and have ended when its exception is raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
