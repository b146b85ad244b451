"""The image pipeline: from the bytes of an image to those of the answer. Imports no HTTP library.

Each step that can refuse a request comes before the work that it would save.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic

from model_store.allocator import trim_heap
from service.engine.admission import Admission
from service.engine.inference_spec import InferenceSpec
from service.engine.scheduler import Scheduler
from service.errors import DeadlineExceeded, InvalidRequest, ServiceError, name_exhaustion
from service.imaging.blending import mix
from service.imaging.codecs import ImageHeader, Pixels
from service.imaging.damage import Damage
from service.imaging.json_contents import Path, TakenApart
from service.imaging.sizes import Size
from service.imaging.workers.codec_client import CodecClient
from service.models.served_model import ServedModel
from service.pipeline.execution import Execution, Inferences, stage_seconds
from service.pipeline.gathering import gather
from service.pipeline.operation import Plan
from service.pipeline.planning import check_limits, image_limits, plan_frame
from service.pipeline.resolve import ResolvedRequest
from service.pipeline.result import EncodedImage
from service.pipeline.trace import Trace
from service.settings import Settings
from service.telemetry.metrics import Metrics

FRAMES_AT_ONCE = 8
"""Frames of one request whose tiles are queued at the same time, at most."""

TRIM_PIXELS = 16_000_000
"""Output pixels from which the memory of an answer is given back to the system at once."""


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


class ImagePipeline:
    """Carries out resolved requests: codecs in worker processes, and one device behind admission and scheduler."""

    def __init__(
        self,
        settings: Settings,
        admission: Admission[ServedModel],
        scheduler: Scheduler[ServedModel],
        codecs: CodecClient,
        metrics: Metrics,
    ) -> None:
        self._limits = image_limits(settings)
        self._admission = admission
        self._scheduler = scheduler
        self._codecs = codecs
        self._metrics = metrics

    def check(self, request: ResolvedRequest) -> None:
        """Refuse a request before its body is read, where even the smallest image would be. Raises as `run` does."""
        specs = [InferenceSpec(model, 1, 1) for model in request.operation.models]
        self._admission.check(specs, request.timeout.deadline())

    def forecast(self, request: ResolvedRequest, header: ImageHeader) -> Forecast:
        """What would become of a request now. Raises as `run` does where it could be accepted at no time."""
        file_format = request.output.choose_format(header)
        plan = plan_frame(request, header, file_format)
        frames, specs, deadline = header.frames, plan.inferences, request.timeout.deadline()
        size = plan.pixels * frames, len(specs) * frames
        try:
            check_limits(self._limits, header, plan, file_format)
        except ServiceError as refusal:
            return Forecast(plan, *size, refusal)
        inferences = self._admission.new_requests(specs, deadline, frames)
        tiles = frames * sum(inference.tile_count for inference in inferences)
        seconds = self._admission.forecast(*inferences, frames=frames)
        try:
            self._admission.check(specs, deadline, frames)
        except ServiceError as refusal:
            return Forecast(plan, *size, refusal, tiles, *seconds)
        return Forecast(plan, *size, None, tiles, *seconds)

    async def inspect(self, image: bytes) -> ImageHeader:
        """The header of an image. Raises what the codecs raise for a broken or unsupported one, and OutOfResources."""
        with name_exhaustion():
            return await self._codecs.inspect(image)

    async def take_apart(self, body: bytes, paths: Sequence[Path]) -> TakenApart:
        """A JSON document and the images in it. Raises as `CodecClient`, and OutOfResources."""
        with name_exhaustion():
            return await self._codecs.take_apart(body, paths)

    async def measure(self, request: ResolvedRequest, image: bytes) -> int:
        """Output pixels of all inferences that a request needs. Raises as `run` does before admission."""
        header = await self.inspect(image)
        file_format = request.output.choose_format(header)
        plan = plan_frame(request, header, file_format)
        check_limits(self._limits, header, plan, file_format)
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
        arrived = request.timeout.deadline()
        async with _time_until(arrived.end, request.timeout.longest):
            header = await self.inspect(image)
            file_format = request.output.choose_format(header)
            plan = plan_frame(request, header, file_format)
            check_limits(self._limits, header, plan, file_format)
            mask_pixels = await self._check_mask(request, header)
        if request.operation.damaged:
            request = await self._assess(request, image, header, trace)
            plan = plan_frame(request, header, file_format)
            check_limits(self._limits, header, plan, file_format)
        deadline = request.timeout.deadline()
        with self._admission.admit(plan.inferences, deadline, header.frames) as inferences:
            trace.inferences.extend(inferences)
            execution = Execution(request, plan, file_format, inferences, header, mask_pixels, trace)
            async with _time_until(deadline.end, request.timeout.longest):
                content = await self._execute(execution, image)
        for inference in inferences:
            self._metrics.output_pixels.labels(inference.model.name).inc(inference.spec.output_pixels)
        return EncodedImage(content, file_format, plan.answer, plan.models, request.operation.verdict)

    async def _assess(
        self, request: ResolvedRequest, image: bytes, header: ImageHeader, trace: Trace
    ) -> ResolvedRequest:
        """The request with the networks for this image. An animation counts as clean. Raises as `run` does."""
        deadline, operation = request.timeout.deadline(), request.operation
        self._admission.check(operation.plan(Size(*header.upright_size)).inferences, deadline, header.frames)
        with trace.stage("assess"):
            async with _time_until(deadline.end, request.timeout.longest):
                damage = Damage() if header.frames > 1 else await self._codecs.assess(image, header)
        return replace(request, operation=operation.for_image(damage))

    async def _check_mask(self, request: ResolvedRequest, header: ImageHeader) -> int:
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
        return await gather(infer_frame(inferences, pixels) for inferences, pixels in frames)

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
        return await gather(self._scheduler.submit(inference, pixels) for inference in inferences)


@asynccontextmanager
async def _time_until(deadline: float, seconds: float) -> AsyncIterator[None]:
    """Raise DeadlineExceeded where the block has not ended by `deadline` (`time.monotonic`), after `seconds`."""
    try:
        async with asyncio.timeout(deadline - monotonic()):
            yield
    except TimeoutError as error:
        detail = f"the answer was not ready in {seconds:.12g} s; send a smaller image, or a larger X-Request-Timeout"
        raise DeadlineExceeded(detail) from error
