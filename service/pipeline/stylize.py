"""Stylize: an image in one style or in several, mixed, wholly or where a mask says so."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from service.engine.inference_spec import InferenceSpec
from service.errors import InvalidRequest
from service.imaging.damage import Damage
from service.imaging.sizes import LONGEST_SIDE, Size
from service.imaging.style_transform import StyleTransform
from service.models.selection import ModelSelection
from service.models.served_model import ServedModel
from service.pipeline.enlargement import IMPERCEPTIBLE, NOTICEABLE, Enlarge, choose_enlarger
from service.pipeline.operation import Plan
from service.pipeline.working_size import DEFAULT_WORKING_SIZE, working_size

MAX_STYLES = 4

LEAST_SIDE = 16

Side = Annotated[int, Field(ge=LEAST_SIDE, le=LONGEST_SIDE)]

WEIGHT = re.compile(r"\d{1,6}(\.\d{0,6})?|\.\d{1,6}")


def _explain_size(size: object, validate: ValidatorFunctionWrapHandler) -> Any:
    """One message that says what is accepted, where a union has one for each of its members."""
    try:
        return validate(size)
    except ValidationError:
        accepted = {"least": LEAST_SIDE, "most": LONGEST_SIDE}
        raise PydanticCustomError(
            "size", "Input should be native, or pixels from {least} to {most}", accepted
        ) from None


PaintedSize = Annotated[Side | Literal["native"], WrapValidator(_explain_size)]


class StylizeOptions(BaseModel):
    """The options beside the style that decide on the pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strength: float = Field(
        1.0, ge=0, le=1, description="how much of the painting, 1, and of the photograph, 0, is seen", examples=[0.7]
    )
    preserve_color: bool = Field(
        False, description="paint the light (luma, Y' of BT.709) only, and keep the photograph's colours (Cb and Cr)"
    )
    size: PaintedSize | None = Field(
        None,
        description="longest side, in pixels, at which the painting is made: brush strokes have a size in pixels, so "
        "that a smaller one gives broader strokes; native: the photograph's own; by default its own up to 1,280 pixels "
        "(a quarter more than the style's working size, 1,024 for most), and else the working size",
        examples=[800],
    )
    enlarge: Enlarge = Field(
        Enlarge.AUTO,
        description="what enlarges a painting that is smaller than the answer: the ×2 or ×4 network (where that is "
        "not served, as lanczos), or a Lanczos filter, which is softer and several times as fast; auto: the network "
        "where sides grow by more than 2.5",
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
    """See `Operation`."""

    styles: tuple[tuple[ServedModel, float], ...]
    """With their weights, whose sum is 1, the heaviest first."""
    options: StylizeOptions = field(default_factory=StylizeOptions)
    enlargers: tuple[ServedModel, ...] = ()
    """The networks of which one enlarges a painting that is smaller than the answer; without any, a filter does."""
    least_factor: float = IMPERCEPTIBLE
    """By which sides must grow for a network to enlarge them."""

    @classmethod
    def resolve(cls, models: ModelSelection, expression: str, options: StylizeOptions) -> "Stylize":
        """In the styles of an expression such as `great-wave` or `great-wave:0.7,the-scream:0.3`.

        Raises InvalidRequest for anything else, UnknownModel, or ModelUnavailable.
        """
        weights = sorted(parse_mixture(expression).items(), key=lambda style: -style[1])
        styles = tuple((models.style(name), weight) for name, weight in weights)
        enlargers = () if options.enlarge is Enlarge.LANCZOS else models.enlargers()
        least = NOTICEABLE if options.enlarge is Enlarge.AUTO else IMPERCEPTIBLE
        return cls(styles, options, enlargers, least)

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The styles, the heaviest first."""
        return tuple(model for model, _ in self.styles)

    @property
    def needs_mask(self) -> bool:
        """Feathering softens the edges of a mask."""
        return self.options.feather > 0

    @property
    def damaged(self) -> None:
        """Damage makes no difference to a style."""

    @property
    def verdict(self) -> str:
        """Nothing is looked for."""
        return ""

    def for_image(self, damage: Damage) -> "Stylize":  # noqa: ARG002
        """The same for every image."""
        return self

    def plan(self, size: Size) -> Plan:
        """Every style gets the image at the size that is stylized; a network may enlarge what they make of it."""
        stylized, answer = self._stylized_size(size), self._answer_size(size)
        enlarger = choose_enlarger(self.enlargers, max(answer) / max(stylized), self.least_factor)
        weights = tuple(weight for _, weight in self.styles)
        if enlarger is None:
            inferences = [InferenceSpec(model, *stylized, answer_pixels=answer.pixels) for model in self.models]
            return Plan(tuple(inferences), self._transform(stylized, answer, weights), weights, answer)
        inferences = [InferenceSpec(model, *stylized) for model in self.models]
        inferences.append(InferenceSpec(enlarger, *stylized, answer_pixels=answer.pixels))
        return Plan(tuple(inferences), self._transform(stylized, answer, (1.0,)), weights, answer)

    def _transform(self, stylized: Size, answer: Size, weights: tuple[float, ...]) -> StyleTransform:
        options = self.options
        return StyleTransform(stylized, answer, weights, options.strength, options.preserve_color, options.feather)

    def _stylized_size(self, size: Size) -> Size:
        wanted = self.options.size
        if wanted == "native":
            return size
        if wanted is None:
            return working_size(size, self.models[0].manifest.working_size or DEFAULT_WORKING_SIZE)
        return size.with_longest(wanted)

    def _answer_size(self, size: Size) -> Size:
        longest = self.options.output_size
        return size if longest is None else size.with_longest(longest)


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
