"""A request that is being carried out: what was admitted for it, and what the codecs do for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import Model
from service.imaging.codecs import ImageFormat, ImageHeader, MetadataPolicy, Pixels, SourceType
from service.imaging.workers.image_tasks import DecodedFrames, DecodeRequest, EncodeRequest
from service.models.served_model import ServedModel
from service.pipeline.operation import Plan
from service.pipeline.resolve import ResolvedRequest
from service.pipeline.trace import Trace

Inferences = Sequence[InferenceRequest[ServedModel]]


@dataclass(frozen=True)
class Execution:
    """A request that was admitted, with what it needs on its way."""

    request: ResolvedRequest
    plan: Plan
    format: ImageFormat
    inferences: Inferences
    header: ImageHeader
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
        transform = self.plan.transform
        return EncodeRequest(decoded.source, tuple(outputs), transform, self.format, request.output, source_type)


def stage_seconds(requests: Sequence[InferenceRequest[Model]]) -> dict[str, float]:
    """Seconds of the stages that a client's inference requests have reached.

    `queue`: until the first tile of the first one; `infer`: from then until the last tile of the last one.
    """
    now, first = monotonic(), requests[0].times
    if not first.started:
        return {"queue": first.queue_seconds(now)}
    end = max(times.finished or (now if times.started else 0.0) for times in (request.times for request in requests))
    return {"queue": first.queue_seconds(now), "infer": end - first.started}
