"""What a request needs for a frame, and whether the limits allow it: all that follows from the header of an image."""

from service.imaging.codecs import ImageFormat, ImageHeader, ImageLimits
from service.imaging.sizes import Size
from service.pipeline.operation import Plan
from service.pipeline.resolve import ResolvedRequest
from service.settings import Settings


def image_limits(settings: Settings) -> ImageLimits:
    """The limits of the settings."""
    return ImageLimits(
        settings.max_pixels,
        settings.max_output_pixels,
        settings.max_whole_pixels,
        settings.max_frames,
        settings.max_queue_pixels,
        settings.max_queue_inferences,
    )


def plan_frame(request: ResolvedRequest, header: ImageHeader, file_format: ImageFormat) -> Plan:
    """What each frame of an image needs; in fp32 where 16 bits a channel come in and go out.

    Raises InvalidRequest where it cannot be done.
    """
    plan = request.operation.plan(Size(*header.upright_size))
    return plan.in_fp32() if header.depth == 16 and file_format.supports_16_bit else plan


def check_limits(limits: ImageLimits, header: ImageHeader, plan: Plan, file_format: ImageFormat) -> None:
    """Raise ImageTooLarge where the image, a step on the way to its answer, or the answer is larger than allowed."""
    frames = header.frames
    limits.check_input(header)
    for spec in plan.inferences:
        network = spec.model.manifest.network
        share = network.share_of_whole_pixels
        limits.check_pass(spec.height * spec.width, whole=network.needs_whole_image, share=share)
        limits.check_result(spec.output_pixels, frames)
    limits.check_side(max(plan.answer), file_format)
    limits.check_work(plan.pixels * frames)
    limits.check_inferences(frames, len(plan.inferences))
