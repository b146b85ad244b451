"""Stylize: an image in one style or in several, mixed, wholly or where a mask says so."""

import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from service.engine.inference_request import InferenceSpec
from service.errors import InvalidRequest
from service.imaging.sizes import Size
from service.imaging.style_transform import StyleTransform
from service.models.registry import ModelRegistry, ServedModel
from service.pipeline.operation import Plan

MAX_STYLES = 4
LONGEST_SIDE = 65_500
"""Pixels; for most images the limits on pixels are reached before."""

WEIGHT = re.compile(r"\d{1,6}(\.\d{0,6})?|\.\d{1,6}")


class StylizeOptions(BaseModel):
    """The options beside the style that decide on the pixels."""

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
class Stylize:
    """See `Operation`. The fields beside `styles` are those of StylizeOptions."""

    styles: tuple[tuple[ServedModel, float], ...]
    """With their weights, whose sum is 1, the heaviest first."""
    strength: float = 1.0
    preserve_color: bool = False
    size: int | None = None
    output_size: int | None = None
    feather: float = 0.0

    @classmethod
    def resolve(cls, models: ModelRegistry, expression: str, options: StylizeOptions) -> "Stylize":
        """In the styles of an expression such as `great-wave` or `great-wave:0.7,the-scream:0.3`.

        Raises InvalidRequest for anything else, UnknownModel, or ModelUnavailable.
        """
        weights = sorted(parse_mixture(expression).items(), key=lambda style: -style[1])
        return cls(tuple((models.style(name), weight) for name, weight in weights), **options.model_dump())

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The styles, the heaviest first."""
        return tuple(model for model, _ in self.styles)

    @property
    def needs_mask(self) -> bool:
        """Feathering softens the edges of a mask."""
        return self.feather > 0

    def plan(self, size: Size) -> Plan:
        """Every style gets the image at the size that is stylized."""
        stylized, answer = self._stylized_size(size), self._answer_size(size)
        inferences = [InferenceSpec(model, *stylized, answer_pixels=answer.pixels) for model in self.models]
        weights = tuple(weight for _, weight in self.styles)
        transform = StyleTransform(stylized, answer, weights, self.strength, self.preserve_color, self.feather)
        return Plan(tuple(inferences), transform, chained=False, answer=answer)

    def _stylized_size(self, size: Size) -> Size:
        return size if self.size is None else size.with_longest(self.size)

    def _answer_size(self, size: Size) -> Size:
        return size if self.output_size is None else size.with_longest(self.output_size)


def parse_mixture(expression: str) -> dict[str, float]:
    """The weight of each style of `name:weight,…`, their sum 1, without styles of weight 0. Raises InvalidRequest."""
    parts = [part.strip().partition(":") for part in expression.split(",")]
    names = [name for name, _, _ in parts]
    if len(parts) > MAX_STYLES or len(set(names)) < len(names) or "" in names:
        raise _malformed(expression, f"names {len(parts)} styles, {len(set(names) - {''})} different ones")
    given = {name: _parse_weight(expression, weight if colon else "1") for name, colon, weight in parts}
    total = sum(given.values())
    if not total > 0:
        raise _malformed(expression, "has no weight greater than 0")
    return {name: weight / total for name, weight in given.items() if weight > 0}


def _parse_weight(expression: str, text: str) -> float:
    if not WEIGHT.fullmatch(text):
        raise _malformed(expression, f"has the weight {text!r}")
    return float(text)


def _malformed(expression: str, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{expression!r} {what}; accepted are the name of a style, or up to {MAX_STYLES} different ones with weights "
        "of which one at least is greater than 0: great-wave:0.7,the-scream:0.3 (weights are parts of their sum, with "
        "up to six digits before and after the point; 1 where none is given)"
    )
