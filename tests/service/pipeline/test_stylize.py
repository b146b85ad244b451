"""Over HTTP, with its networks, Stylize is tested in http/routes/test_images.py."""

from dataclasses import dataclass
from typing import Any, cast

import pytest
from pydantic import ValidationError

from service.errors import InvalidRequest
from service.imaging.sizes import Size
from service.imaging.style_transform import StyleTransform
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.pipeline.operation import Plan
from service.pipeline.stylize import Stylize, StylizeOptions


@dataclass(frozen=True)
class Declared:
    """What the manifest of a style declares."""

    working_size: int | None = None


@dataclass(frozen=True)
class Style:
    """A model with what it declares."""

    name: str
    manifest: Declared
    scale: int = 1


@dataclass(frozen=True)
class Served:
    """Every name is a style, and there are the enlargers of these scales."""

    scales: tuple[int, ...] = (2,)
    working_size: int | None = None

    def style(self, name: str) -> ServedModel:
        return cast(ServedModel, Style(name, Declared(self.working_size)))

    def enlargers(self) -> tuple[ServedModel, ...]:
        return tuple(cast(ServedModel, Style(f"x{scale}", Declared(), scale)) for scale in self.scales)


def stylize(styles: str = "wave", served: Served | None = None, **options: Any) -> Stylize:
    return Stylize.resolve(cast(ModelRegistry, served or Served(())), styles, StylizeOptions(**options))


def inferences(plan: Plan) -> list[tuple[str, int, int]]:
    """The model, height and width of each."""
    return [(spec.model.name, spec.height, spec.width) for spec in plan.inferences]


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
    assert len(plan.weights) == 3
    assert plan.pixels == 3 * 24 * 32


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": 1.1},
        {"strength": float("nan")},
        {"size": 15},
        {"size": "whole"},
        {"enlarge": "bicubic"},
        {"output_size": 10**6},
        {"feather": -1},
        {"sise": 16},
    ],
)
def test_options_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StylizeOptions(**wrong)


@pytest.mark.parametrize("size", [15, 65_501, "big", 1.5])
def test_a_wrong_size_is_told_what_is_accepted(size: object) -> None:
    with pytest.raises(ValidationError) as refused:
        StylizeOptions.model_validate({"size": size})
    assert [error["msg"] for error in refused.value.errors()] == ["Input should be native, or pixels from 16 to 65500"]


def test_feather_needs_a_mask() -> None:
    assert stylize(feather=2).needs_mask
    assert not stylize().needs_mask


@pytest.mark.parametrize(("longer", "painted"), [(1000, 1000), (1280, 1280), (1281, 1024), (4000, 1024)])
def test_large_photographs_are_painted_at_the_working_size(longer: int, painted: int) -> None:
    plan = stylize(served=Served((2, 4))).plan(Size(longer * 3 // 4, longer))
    assert plan.inferences[0].width == painted
    assert plan.answer == Size(longer * 3 // 4, longer)


def test_a_style_declares_its_working_size_and_the_heaviest_of_a_mixture_decides() -> None:
    assert stylize("a:1,b:3", Served((), 200)).plan(Size(300, 400)).inferences[0].width == 200
    assert stylize("a", Served((), 400)).plan(Size(300, 400)).inferences[0].width == 400


def test_panoramas_are_painted_at_half_the_working_size_or_more() -> None:
    assert inferences(stylize().plan(Size(600, 12000))) == [("wave", 600, 12000)]
    assert inferences(stylize().plan(Size(12000, 1024))) == [("wave", 6000, 512)]


def test_native_is_the_size_of_the_photograph() -> None:
    plan = stylize(served=Served((2, 4)), size="native").plan(Size(3000, 4000))
    assert inferences(plan) == [("wave", 3000, 4000)]


def test_a_mixture_is_enlarged_as_one_painting() -> None:
    plan = stylize("a:1,b:3", Served((2, 4)), strength=0.5).plan(Size(3000, 4000))
    assert inferences(plan) == [("b", 768, 1024), ("a", 768, 1024), ("x4", 768, 1024)]
    assert plan.weights == (0.75, 0.25)
    assert plan.transform == StyleTransform(Size(768, 1024), Size(3000, 4000), (1.0,), 0.5)
    assert [model.name for model in plan.models] == ["b", "a", "x4"]
    assert plan.pixels == 2 * 768 * 1024 + 3072 * 4096


@pytest.mark.parametrize("options", [{"size": 16, "enlarge": "lanczos"}, {"size": 26}, {"output_size": 40}])
def test_little_or_no_enlargement_needs_no_network(options: dict[str, Any]) -> None:
    assert len(stylize(served=Served(), **options).plan(Size(24, 32)).inferences) == 1


def test_a_given_size_is_enlarged_by_the_network_too() -> None:
    network: dict[str, Any] = {"served": Served(), "enlarge": "network"}
    assert inferences(stylize(**network, size=16).plan(Size(24, 32)))[1:] == [("x2", 12, 16)]
    assert inferences(stylize(**network, output_size=64).plan(Size(24, 32)))[1:] == [("x2", 24, 32)]


@pytest.mark.parametrize(("output_size", "enlargers"), [(80, []), (81, [("x4", 24, 32)])])
def test_by_default_a_network_enlarges_where_sides_grow_by_much(
    output_size: int, enlargers: list[tuple[str, int, int]]
) -> None:
    plan = stylize(served=Served((2, 4)), output_size=output_size).plan(Size(24, 32))
    assert inferences(plan)[1:] == enlargers
