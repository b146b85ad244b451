"""A photograph is enlarged: by one network or by several in turn, to their scale or to any size below it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from pydantic import BaseModel, ConfigDict, Field

from service.admission import Work
from service.back_projection import project_back
from service.photographs import Picture, Pixels
from service.resampling import resized
from service.served_models import ServedModel, ServedModels
from service.sizes import Fit, Framing, Size, framed
from service.treatments import Plan, Subject

LONGEST_SIDE = 65_500


class EnlargementOptions(BaseModel):
    """What a request can ask for beside the scale."""

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
class Enlargement:
    """By networks one after the other; the fields are those of EnlargementOptions."""

    models: tuple[ServedModel, ...]
    width: int | None = None
    height: int | None = None
    fit: Fit = Fit.INSIDE
    back_projection: bool = True

    @classmethod
    def ordered(cls, models: ServedModels, scale: int, options: EnlargementOptions) -> "Enlargement":
        """By the networks that there are for a scale; raises UnknownModel, or ModelUnavailable."""
        chain = models.upscalers(scale, options.model)
        return cls(chain, **options.model_dump(exclude={"model"}))

    @property
    def needs_mask(self) -> bool:
        """Never."""
        return False

    @property
    def scale(self) -> int:
        """Of all networks together."""
        return prod(model.scale for model in self.models)

    def plan(self, size: Size) -> Plan:
        """Each network enlarges what the one before it made."""
        work = []
        for model in self.models:
            work.append(Work(model, *size))
            size = size.times(model.scale)
        return Plan(tuple(work), chained=True, answer=self._framing(size).answer)

    def prepared(self, subject: Subject) -> Pixels:
        """The picture as it is, in its own colour space: nothing becomes of the colours."""
        return subject.picture.pixels

    def finished(self, subject: Subject, results: Sequence[Pixels]) -> Picture:
        """The last network's result with the picture's colours, in the size that was asked for."""
        picture, enlarged = subject.picture, results[-1]
        if self.back_projection:
            project_back(enlarged, picture.pixels)
        framing = self._framing(Size(*enlarged.shape[:2]))
        whole = picture.repainted(resized(enlarged, *framing.resized))
        return whole if framing.resized == framing.answer else _cut(whole, framing)

    def _framing(self, full: Size) -> Framing:
        return framed(full, self.width, self.height, self.fit)


def _cut(picture: Picture, framing: Framing) -> Picture:
    top, left = framing.corner
    part = slice(top, top + framing.answer.height), slice(left, left + framing.answer.width)
    alpha = None if picture.alpha is None else picture.alpha[part]
    return replace(picture, pixels=picture.pixels[part], alpha=alpha)
