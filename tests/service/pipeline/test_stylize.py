"""Over HTTP, with its networks, Stylize is tested in http/routes/test_images.py."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from service.errors import InvalidRequest
from service.imaging.sizes import Size
from service.imaging.style_transform import StyleTransform
from service.models.registry import ModelRegistry, ServedModel
from service.pipeline.stylize import Stylize, StylizeOptions
from tests.service.pointwise import model


@dataclass(frozen=True)
class Served:
    """Every name is a style."""

    def style(self, name: str) -> ServedModel:
        return cast(ServedModel, model(name))


def stylize(styles: str = "wave", **options: Any) -> Stylize:
    return Stylize.resolve(cast(ModelRegistry, Served()), styles, StylizeOptions(**options))


def weights(styles: str) -> dict[str, float]:
    return {served.name: weight for served, weight in stylize(styles).styles}


@pytest.mark.parametrize(
    ("styles", "expected"),
    [
        ("wave", {"wave": 1}),
        ("wave:3", {"wave": 1}),
        ("wave,night", {"wave": 0.5, "night": 0.5}),
        ("wave:0.3, night:0.7", {"night": 0.7, "wave": 0.3}),
        ("wave:1,night:3", {"night": 0.75, "wave": 0.25}),
        ("wave:0,night:.5", {"night": 1}),
        ("a,b,c,d", dict.fromkeys("abcd", 0.25)),
    ],
)
def test_weights_are_parts_of_their_sum(styles: str, expected: dict[str, float]) -> None:
    assert weights(styles) == pytest.approx(expected)
    assert list(weights(styles)) == list(expected)


@pytest.mark.parametrize(
    "styles",
    ["wave:", "wave:-1", "wave:nan", "wave:inf", "wave:1e3", "wave:0", "a:0,b:0", "a,a", "a,b,c,d,e", "a:1:2", "a:1,"],
)
def test_what_is_no_mixture_is_refused(styles: str) -> None:
    with pytest.raises(InvalidRequest, match="up to 4 different ones with weights"):
        weights(styles)


def test_painting_is_made_at_its_size_and_answered_at_another() -> None:
    subject = stylize(size=16, output_size=80)
    plan = subject.plan(Size(24, 32))
    assert [(spec.height, spec.width, spec.output_pixels) for spec in plan.inferences] == [(12, 16, 4800)]
    assert plan.answer == Size(60, 80)
    assert plan.pixels == 4800
    assert plan.transform == StyleTransform(Size(12, 16), Size(60, 80), (1,))
    assert stylize(size=16).plan(Size(24, 32)).answer == Size(24, 32)
    assert stylize(output_size=16).plan(Size(24, 32)).inferences[0].output_pixels == 24 * 32


def test_options_reach_the_transform() -> None:
    plan = stylize("a:1,b:3", strength=0.5, preserve_color=True, feather=2).plan(Size(24, 32))
    assert plan.transform == StyleTransform(Size(24, 32), Size(24, 32), (0.75, 0.25), 0.5, True, 2)


def test_every_style_of_a_mixture_is_an_inference() -> None:
    plan = stylize("a,b:2,c").plan(Size(24, 32))
    assert [spec.model.name for spec in plan.inferences] == ["b", "a", "c"]
    assert not plan.chained
    assert plan.pixels == 3 * 24 * 32


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": 1.1},
        {"strength": float("nan")},
        {"size": 15},
        {"output_size": 10**6},
        {"feather": -1},
        {"sise": 16},
    ],
)
def test_options_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StylizeOptions(**wrong)


def test_feather_needs_a_mask() -> None:
    assert stylize(feather=2).needs_mask
    assert not stylize().needs_mask
