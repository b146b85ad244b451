"""The steps of Upscale around its networks; with them it is tested over HTTP (http/routes/test_images.py)."""

from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidRequest
from service.imaging.codecs import ColourSpace, Picture, Pixels
from service.imaging.frame_transform import Frame
from service.imaging.resampling import resize
from service.imaging.sizes import Fit, Size
from service.models.served_model import ServedModel
from service.pipeline.upscale import Upscale
from tests.service.imaging.images import photo
from tests.service.pointwise import model

DOUBLED = model("x2", scale=2)


def upscale(**options: Any) -> Upscale:
    return Upscale((cast(ServedModel, DOUBLED),) * 2, **{"scale": 4, **options})


def wrong() -> Pixels:
    """An enlargement of `photo` whose colours are wrong."""
    made: Pixels = np.clip(resize(photo(), 96, 128).astype(int) - 9, 0, 255).astype(np.uint8)
    return made


def finish(subject: Upscale, picture: Picture | None = None) -> Picture:
    transform = subject.plan(Size(24, 32)).transform
    return transform.postprocess(Frame(picture or Picture(photo()), ColourSpace()), [wrong()])


def test_networks_continue_each_others_work() -> None:
    plan = upscale().plan(Size(24, 32))
    assert [(spec.height, spec.width) for spec in plan.inferences] == [(24, 32), (48, 64)]
    assert plan.weights == (1.0,)
    assert plan.answer == Size(96, 128)
    assert plan.pixels == 48 * 64 + 96 * 128
    assert [model.scale for model in upscale().models] == [2, 2]


def test_colours_are_those_of_the_picture() -> None:
    reduced = Image.fromarray(finish(upscale()).pixels).resize((32, 24), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(reduced).astype(int) - photo()).mean() < 0.3
    assert np.array_equal(finish(upscale(back_projection=False)).pixels, wrong())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"width": 64}, Size(48, 64)),
        ({"width": 90, "height": 90}, Size(68, 90)),
        ({"width": 90, "height": 90, "fit": Fit.COVER}, Size(90, 90)),
        ({"width": 90, "height": 90, "fit": Fit.FILL}, Size(90, 90)),
        ({"width": 10}, Size(8, 10)),
    ],
)
def test_answer_has_the_size_that_was_asked_for(options: dict[str, Any], size: Size) -> None:
    subject = upscale(**options, back_projection=False)
    assert subject.plan(Size(24, 32)).answer == size
    answer = finish(subject, Picture(photo(), photo(1)[..., 0]))
    assert answer.alpha is not None
    assert answer.pixels.shape[:2] == answer.alpha.shape == tuple(size)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"scale": 2.53}, Size(61, 81)),
        ({"scale": 3}, Size(72, 96)),
        ({"scale": 3.99}, Size(96, 128)),
        ({"scale": 2.5, "width": 70}, Size(52, 70)),
        ({"scale": 2.5, "width": 80, "height": 50, "fit": Fit.COVER}, Size(50, 80)),
    ],
)
def test_smaller_scale_is_a_reduction(options: dict[str, Any], size: Size) -> None:
    subject = upscale(**options)
    plan = subject.plan(Size(24, 32))
    assert plan.answer == size
    assert plan.pixels == 48 * 64 + 96 * 128
    assert finish(subject).pixels.shape[:2] == tuple(size)


def test_colours_of_a_smaller_scale_are_those_of_the_picture() -> None:
    reduced = Image.fromarray(finish(upscale(scale=2.5)).pixels).resize((32, 24), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(reduced).astype(int) - photo()).mean() < 0.3
    unprojected = finish(upscale(scale=2.5, back_projection=False)).pixels
    assert np.array_equal(unprojected, resize(wrong(), 60, 80))


def test_more_than_a_smaller_scale_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="becomes 80×60 at most"):
        upscale(scale=2.5, width=81).plan(Size(24, 32))


def test_cover_is_the_middle() -> None:
    answer = finish(upscale(width=90, height=90, fit=Fit.COVER, back_projection=False)).pixels
    assert np.array_equal(answer, resize(wrong(), 90, 120)[:, 15:105])


def test_more_than_the_scale_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="becomes 128×96 at most"):
        upscale(width=129).plan(Size(24, 32))
