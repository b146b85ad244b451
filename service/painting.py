"""A photograph is painted: in a style or in several, wholly or in part, at the size that suits the strokes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from service.admission import Work
from service.blending import Opacity, blended, in_colours_of, mixed
from service.errors import InvalidRequest
from service.masks import Mask
from service.photographs import Picture, Pixels
from service.resampling import resized
from service.served_models import ServedModel, ServedModels
from service.sizes import Size
from service.treatments import Plan, Subject

MOST_STYLES = 4
LONGEST_SIDE = 65_500
"""Of a painting and of its answer; the limits on pixels come before that for most photographs."""


class PaintingOptions(BaseModel):
    """What a request can ask for beside the style."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strength: float = Field(
        1.0, ge=0, le=1, description="how much of the painting, 1, and of the photograph, 0, is seen", examples=[0.7]
    )
    preserve_color: bool = Field(
        False, description="paint the light (luma, Y' of BT.709) only, and keep the photograph's colours (Cb and Cr)"
    )
    size: int | None = Field(
        None,
        ge=16,
        le=LONGEST_SIDE,
        description="longest side, in pixels, at which the painting is made: brush strokes have a size in pixels, so "
        "that a smaller one gives broader strokes; by default the photograph's own",
        examples=[1024],
    )
    output_size: int | None = Field(
        None,
        ge=16,
        le=LONGEST_SIDE,
        description="longest side of the answer; by default the photograph's own",
        examples=[2048],
    )
    feather: float = Field(
        0.0, ge=0, le=1000, description="pixels of the answer over which the edges of the mask are softened"
    )


@dataclass(frozen=True)
class Painting:
    """The fields are those of PaintingOptions."""

    styles: tuple[tuple[ServedModel, float], ...]
    """With their weights, whose sum is 1, the heaviest first."""
    strength: float = 1.0
    preserve_color: bool = False
    size: int | None = None
    output_size: int | None = None
    feather: float = 0.0

    @classmethod
    def ordered(cls, models: ServedModels, styles: str, options: PaintingOptions) -> "Painting":
        """In the styles of an expression like `great-wave` or `great-wave:0.7,the-scream:0.3`.

        Raises InvalidRequest for what is no such expression, UnknownModel, or ModelUnavailable.
        """
        weights = sorted(_weights(styles).items(), key=lambda style: -style[1])
        return cls(tuple((models.style(name), weight) for name, weight in weights), **options.model_dump())

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The networks of its styles, the heaviest first."""
        return tuple(model for model, _ in self.styles)

    @property
    def needs_mask(self) -> bool:
        """For its edges to be feathered."""
        return self.feather > 0

    def plan(self, size: Size) -> Plan:
        """Every style paints the picture at the painting's size."""
        painted, answer = self._painted(size), self._answer(size)
        work = [Work(model, *painted, answer_pixels=answer.pixels) for model in self.models]
        return Plan(tuple(work), chained=False, answer=answer)

    def prepared(self, subject: Subject) -> Pixels:
        """The photograph at the painting's size, in sRGB."""
        return subject.space.to_srgb(resized(subject.picture.pixels, *self._painted(subject.size)))

    def finished(self, subject: Subject, results: Sequence[Pixels]) -> Picture:
        """The paintings mixed, resized, in the photograph's colour space, and laid over it."""
        picture, answer = subject.picture, self._answer(subject.size)
        mixture = mixed(results, [weight for _, weight in self.styles])
        painting = subject.space.from_srgb(resized(mixture, *answer))
        covering = self._opacity(answer, subject.mask)
        if not self.preserve_color and covering is None:
            return picture.repainted(painting)
        photo = resized(picture.pixels, *answer)
        if self.preserve_color:
            painting = in_colours_of(photo, painting)
        return picture.repainted(painting if covering is None else blended(photo, painting, covering))

    def _opacity(self, answer: Size, mask: Mask | None) -> Opacity | None:
        """None where the painting covers everything."""
        if mask is not None:
            return mask.opacity(*answer, self.feather, self.strength)
        return None if self.strength == 1 else lambda _begin, _end: self.strength

    def _painted(self, size: Size) -> Size:
        return size if self.size is None else size.with_longest(self.size)

    def _answer(self, size: Size) -> Size:
        return size if self.output_size is None else size.with_longest(self.output_size)


def _weights(styles: str) -> dict[str, float]:
    """Names and weights, their sum 1, without those of weight 0."""
    parts = [part.strip().partition(":") for part in styles.split(",")]
    names = [name for name, _, _ in parts]
    if len(parts) > MOST_STYLES or len(set(names)) < len(names) or "" in names:
        raise _not_styles(styles, f"names {len(parts)} styles, {len(set(names) - {''})} different ones")
    given = {name: _weight(styles, weight if colon else "1") for name, colon, weight in parts}
    total = sum(given.values())
    if not total > 0:
        raise _not_styles(styles, "has no weight greater than 0")
    return {name: weight / total for name, weight in given.items() if weight > 0}


def _weight(styles: str, text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{0,6})?|\.\d{1,6}", text):
        raise _not_styles(styles, f"has the weight {text!r}")
    return float(text)


def _not_styles(styles: str, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{styles!r} {what}; accepted are the name of a style, or up to {MOST_STYLES} different ones with weights of "
        "which one at least is greater than 0: great-wave:0.7,the-scream:0.3 (weights are parts of their sum, with up "
        "to six digits before and after the point; 1 where none is given)"
    )
