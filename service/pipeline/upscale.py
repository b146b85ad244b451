"""Upscale: an image enlarged by one network or by a chain of them, to their scale or to any smaller one."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from service.engine.inference_request import InferenceSpec
from service.imaging.sizes import Fit, Framing, Size, fit_size
from service.imaging.upscale_transform import UpscaleTransform
from service.models.registry import ModelRegistry, ServedModel
from service.pipeline.operation import Plan

LONGEST_SIDE = 65_500
"""Pixels; for most images the limits on pixels are reached before."""


def _whole_where_possible(scale: float) -> float:
    """4 for 4.0, which is the same request."""
    return int(scale) if scale == int(scale) else scale


Scale = Annotated[
    float,
    Field(gt=1, allow_inf_nan=False),
    AfterValidator(_whole_where_possible),
    PlainSerializer(_whole_where_possible, return_type=int | float),
]
"""Output side over input side. What exceeds the largest chain of networks is an unknown model."""


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
    scale: float
    """The most by which a side grows; no more than the chain's."""
    width: int | None = None
    height: int | None = None
    fit: Fit = Fit.INSIDE
    back_projection: bool = True

    @classmethod
    def resolve(cls, models: ModelRegistry, scale: float, options: UpscaleOptions) -> "Upscale":
        """By the networks that are served for the scale, or for the next larger one. Raises UnknownModel, or
        ModelUnavailable."""
        chain = models.upscalers(scale, options.model)
        return cls(chain, scale, **options.model_dump(exclude={"model"}))

    @property
    def needs_mask(self) -> bool:
        """An upscaled image has no mask."""
        return False

    def plan(self, size: Size) -> Plan:
        """A chain; its answer has `scale` times the sides, or the size that was asked for."""
        inferences, result = [], size
        for model in self.models:
            inferences.append(InferenceSpec(model, *result))
            result = result.times(model.scale)
        framing = self._framing(size)
        transform = UpscaleTransform(size.times(self.scale), framing, self.back_projection)
        return Plan(tuple(inferences), transform, weights=(1.0,), answer=framing.answer)

    def _framing(self, size: Size) -> Framing:
        return fit_size(size.times(self.scale), self.width, self.height, self.fit)
