"""The steps of Stylize around its networks; with them it is tested over HTTP (http/routes/test_images.py)."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from service.errors import InvalidRequest
from service.imaging.codecs import ColourSpace, Picture, Pixels
from service.imaging.masks import Mask
from service.imaging.resampling import resize
from service.imaging.sizes import Size
from service.models.registry import ModelRegistry, ServedModel
from service.pipeline.operation import Frame
from service.pipeline.stylize import Stylize, StylizeOptions
from tests.service.imaging.images import photo
from tests.service.pointwise import model


@dataclass(frozen=True)
class Served:
    """Every name is a style."""

    def style(self, name: str) -> ServedModel:
        return cast(ServedModel, model(name))


def stylize(styles: str = "wave", **options: Any) -> Stylize:
    return Stylize.resolve(cast(ModelRegistry, Served()), styles, StylizeOptions(**options))


def frame(picture: Picture, mask: Mask | None = None) -> Frame:
    return Frame(picture, ColourSpace(), mask)


def finish(subject: Stylize, *outputs: Pixels, mask: Mask | None = None, below: Pixels | None = None) -> Pixels:
    return subject.postprocess(frame(Picture(photo() if below is None else below), mask), outputs).pixels


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


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_strength_goes_from_the_photo_to_the_stylize(kind: type[np.integer]) -> None:
    below, above = photo().astype(kind), photo(1).astype(kind)
    assert finish(stylize(), above, below=below) is above
    assert np.array_equal(finish(stylize(strength=0), above, below=below), below)
    middle = finish(stylize(strength=0.5), above, below=below)
    assert np.abs(middle - (below.astype(float) + above) / 2).max() <= 0.5


def test_mixture_is_that_of_the_weights_whatever_their_order() -> None:
    one, other = photo(1), photo(2)
    expected = 0.2 * one + 0.8 * other
    assert np.abs(finish(stylize("a:0.2,b:0.8"), other, one) - expected).max() <= 0.51


def test_painting_is_made_at_its_size_and_answered_at_another() -> None:
    subject = stylize(size=16, output_size=80)
    plan = subject.plan(Size(24, 32))
    assert [(spec.height, spec.width, spec.output_pixels) for spec in plan.inferences] == [(12, 16, 4800)]
    assert plan.answer == Size(60, 80)
    assert plan.pixels == 4800
    prepared = subject.preprocess(frame(Picture(photo())))
    assert np.array_equal(prepared, resize(photo(), 12, 16))
    assert np.array_equal(finish(subject, prepared), resize(prepared, 60, 80))
    assert stylize(size=16).plan(Size(24, 32)).answer == Size(24, 32)
    assert stylize(output_size=16).plan(Size(24, 32)).inferences[0].output_pixels == 24 * 32


def test_strength_0_at_another_size_is_the_resized_photo() -> None:
    subject = stylize(strength=0, size=16, output_size=64)
    assert np.array_equal(finish(subject, subject.preprocess(frame(Picture(photo())))), resize(photo(), 48, 64))


def test_every_style_of_a_mixture_is_an_inference() -> None:
    plan = stylize("a,b:2,c").plan(Size(24, 32))
    assert [spec.model.name for spec in plan.inferences] == ["b", "a", "c"]
    assert not plan.chained
    assert plan.pixels == 3 * 24 * 32


def test_mask_decides_where() -> None:
    plane = np.zeros((24, 32, 1), np.uint8)
    plane[:, 16:] = 255
    result = finish(stylize(strength=0.5), photo(1), mask=Mask(plane))
    assert np.array_equal(result[:, :16], photo()[:, :16])
    assert np.array_equal(result[:, 16:], finish(stylize(strength=0.5), photo(1))[:, 16:])


def test_colours_are_kept() -> None:
    grey = np.repeat(photo()[..., :1], 3, axis=2)
    result = finish(stylize(preserve_color=True), photo(1), below=grey)
    assert (np.ptp(result, axis=2) == 0).all()
    assert not np.array_equal(result, grey)


def test_transparency_gets_the_answers_size() -> None:
    picture = Picture(photo(), photo(3)[..., 0])
    answer = stylize(output_size=64, strength=0.5).postprocess(frame(picture), [photo(1)])
    assert answer.alpha is not None
    assert answer.alpha.shape == answer.pixels.shape[:2] == (48, 64)


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
