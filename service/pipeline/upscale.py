"""Upscale: an image enlarged by one network or by a chain of them, to their scale or to any smaller one.

A damaged image may be enlarged by other networks than a clean one; which of the two an image is, is known late.
"""

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from service.engine.inference_spec import InferenceSpec
from service.errors import InvalidRequest
from service.imaging.damage import Damage
from service.imaging.sizes import LONGEST_SIDE, Fit, Framing, Size, fit_size
from service.imaging.upscale_transform import UpscaleTransform
from service.models.selection import ModelSelection
from service.models.served_model import ServedModel
from service.pipeline.operation import Plan

AUTO = "auto"
"""As a model: the one for clean images or the one for damaged ones."""


def _whole_where_possible(scale: float) -> float:
    """4 for 4.0, which is the same request."""
    return int(scale) if scale == int(scale) else scale


Scale = Annotated[
    float,
    Field(ge=1, allow_inf_nan=False),
    AfterValidator(_whole_where_possible),
    PlainSerializer(_whole_where_possible, return_type=int | float),
]
"""Output side over input side; 1 for networks that restore. What exceeds the largest chain is an unknown model."""


class UpscaleOptions(BaseModel):
    """The options beside the scale that decide on the pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str, BeforeValidator(lambda model: AUTO if model is None else model)] = Field(
        AUTO,
        max_length=300,
        description="which network, where several have that scale; or the first ones of a chain, separated by commas; "
        "auto: for a compressed or noisy image the one for damaged photographs, where there is one",
        examples=["x4"],
    )
    denoise: float | None = Field(
        None,
        ge=0,
        le=1,
        description="how much of the network for damaged photographs is mixed in; by default as `model` says",
        examples=[0.5],
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
    back_projection: bool | None = Field(
        None,
        description="correct the networks' colours, so that the answer, reduced again, equals the input; by default "
        "only where neither a network for damaged photographs takes part, whose damage would come back, nor one that "
        "was imported, whose output stays as it is",
    )


@dataclass(frozen=True)
class Upscale:
    """See `Operation`."""

    models: tuple[ServedModel, ...]
    """The chain, in which each enlarges the output of the one before it; or those that are mixed."""
    scale: float
    """The most by which a side grows; no more than the chain's."""
    width: int | None = None
    height: int | None = None
    fit: Fit = Fit.INSIDE
    back_projection: bool = True
    weights: tuple[float, ...] = ()
    """Of the models, where their outputs are mixed; their sum is 1."""
    damaged: "Upscale | None" = None
    """What is done with a damaged image instead; None where that makes no difference."""
    verdict: str = ""
    """What was found in the image, where that decided on the models."""

    @classmethod
    def resolve(cls, models: ModelSelection, scale: float, options: UpscaleOptions) -> "Upscale":
        """By the networks that are served for the scale, or for the next larger one.

        Raises UnknownModel, ModelUnavailable, or InvalidRequest for a `denoise` that these networks do not allow.
        """
        names = None if options.model == AUTO else options.model
        chain = models.upscalers(scale, names)
        restorer = models.restorer(chain[0].scale)
        if options.denoise is not None:
            return cls._of(_mixture(chain, restorer, options.denoise), scale, options)
        upscale = cls._of(_Mixture(chain), scale, options)
        if restorer is None or names is not None:
            return upscale
        return replace(upscale, damaged=cls._of(_Mixture((restorer, *chain[1:])), scale, options))

    @classmethod
    def _of(cls, mixture: "_Mixture", scale: float, options: UpscaleOptions) -> "Upscale":
        back_projection = options.back_projection
        if back_projection is None:
            back_projection = not any(model.restores or model.imported for model in mixture.models)
        return cls(
            mixture.models,
            scale,
            width=options.width,
            height=options.height,
            fit=options.fit,
            back_projection=back_projection,
            weights=mixture.weights,
        )

    @property
    def needs_mask(self) -> bool:
        """An upscaled image has no mask."""
        return False

    def for_image(self, damage: Damage) -> "Upscale":
        """What is done with an image in which that was found."""
        chosen = self.damaged if self.damaged and damage else self
        return replace(chosen, damaged=None, verdict=str(damage))

    def plan(self, size: Size) -> Plan:
        """Networks in turn or mixed; the answer has `scale` times the sides, or the size that was asked for."""
        inferences, result = [], size
        for model in self.models:
            inferences.append(InferenceSpec(model, *(size if self.weights else result)))
            result = result.times(model.scale)
        framing = self._framing(size)
        transform = UpscaleTransform(size.times(self.scale), framing, self.back_projection, self.weights)
        return Plan(tuple(inferences), transform, weights=self.weights or (1.0,), answer=framing.answer)

    def _framing(self, size: Size) -> Framing:
        return fit_size(size.times(self.scale), self.width, self.height, self.fit)


class _Mixture(NamedTuple):
    """A chain, or with weights the networks that are mixed, the heaviest first."""

    models: tuple[ServedModel, ...]
    weights: tuple[float, ...] = ()


def _mixture(chain: tuple[ServedModel, ...], restorer: ServedModel | None, denoise: float) -> _Mixture:
    """So much of the network for damaged photographs, and the rest of the chain's first. Raises InvalidRequest."""
    if restorer is None:
        detail = f"there is no network for damaged photographs that enlarges ×{chain[0].scale}, as denoise wants"
        raise InvalidRequest(f"{detail}; leave denoise out")
    if restorer in chain:
        raise InvalidRequest(f"denoise mixes {restorer.name} with another network; leave denoise out, or model")
    if denoise in (0, 1):
        return _Mixture((restorer, *chain[1:]) if denoise else chain)
    if len(chain) > 1:
        names = ", ".join(model.name for model in chain)
        raise InvalidRequest(f"denoise is {denoise:g}; several networks in turn ({names}) take 0 or 1")
    weighted = sorted([(denoise, restorer), (1 - denoise, chain[0])], key=lambda pair: -pair[0])
    weights, models = zip(*weighted, strict=True)
    return _Mixture(models, weights)
