"""Upscale: an image enlarged by one network or by a chain of them, to their scale or to any smaller size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, Field

from service.engine.request import InferenceSpec
from service.imaging.back_projection import back_project
from service.imaging.codecs import Picture, Pixels
from service.imaging.resampling import resize
from service.imaging.sizes import Fit, Framing, Size, fit_size
from service.models.registry import ModelRegistry, ServedModel
from service.pipeline.operation import Frame, Plan

LONGEST_SIDE = 65_500
"""Pixels; for most images the limits on pixels are reached before."""


class UpscaleOptions(BaseModel):
    """The options beside the scale that decide on the pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = Field(
        None,
        max_length=300,
        description="which network, where several have that scale; or the first ones of a chain, separated by commas",
        examples=["x4"],
    )
    width: int | None = Field(
        None, ge=1, le=LONGEST_SIDE, description="of the answer, at most `scale` times the input's", examples=[1600]
    )
    height: int | None = Field(
        None, ge=1, le=LONGEST_SIDE, description="of the answer, at most `scale` times the input's", examples=[1200]
    )
    fit: Fit = Field(
        Fit.INSIDE,
        description="where width and height have another aspect than the picture: the largest that fits into them "
        "(inside), the middle of the smallest that covers them (cover), or distorted to them (fill)",
    )
    back_projection: bool = Field(
        True, description="correct the networks' colours, so that the answer, reduced again, equals the input"
    )


@dataclass(frozen=True)
class Upscale:
    """See `Operation`. The fields beside `models` are those of UpscaleOptions."""

    models: tuple[ServedModel, ...]
    """The chain: each enlarges the output of the one before it."""
    width: int | None = None
    height: int | None = None
    fit: Fit = Fit.INSIDE
    back_projection: bool = True

    @classmethod
    def resolve(cls, models: ModelRegistry, scale: int, options: UpscaleOptions) -> "Upscale":
        """By the networks that are served for the scale. Raises UnknownModel, or ModelUnavailable."""
        chain = models.upscalers(scale, options.model)
        return cls(chain, **options.model_dump(exclude={"model"}))

    @property
    def needs_mask(self) -> bool:
        """An upscaled image has no mask."""
        return False

    def plan(self, size: Size) -> Plan:
        """A chain; its answer has its full size, or the size that was asked for."""
        inferences = []
        for model in self.models:
            inferences.append(InferenceSpec(model, *size))
            size = size.times(model.scale)
        return Plan(tuple(inferences), chained=True, answer=self._framing(size).answer)

    def preprocess(self, frame: Frame) -> Pixels:
        """The pixels as they are, in their own colour space: an enlargement changes no colours."""
        return frame.picture.pixels

    def postprocess(self, frame: Frame, outputs: Sequence[Pixels]) -> Picture:
        """The chain's output with the colours of the image, in the size that was asked for."""
        picture, enlarged = frame.picture, outputs[-1]
        if self.back_projection:
            back_project(enlarged, picture.pixels)
        framing = self._framing(Size(*enlarged.shape[:2]))
        whole = picture.with_pixels(resize(enlarged, *framing.resized))
        return whole if framing.resized == framing.answer else _crop(whole, framing)

    def _framing(self, full: Size) -> Framing:
        return fit_size(full, self.width, self.height, self.fit)


def _crop(picture: Picture, framing: Framing) -> Picture:
    top, left = framing.corner
    part = slice(top, top + framing.answer.height), slice(left, left + framing.answer.width)
    alpha = None if picture.alpha is None else picture.alpha[part]
    return replace(picture, pixels=picture.pixels[part], alpha=alpha)
