from typing import Any

import numpy as np
import pytest

from service.imaging.codecs import ColourSpace, Picture, Pixels
from service.imaging.frame_transform import Frame
from service.imaging.masks import Mask
from service.imaging.resampling import resize
from service.imaging.sizes import Size
from service.imaging.style_transform import StyleTransform
from tests.service.imaging.images import photo

SIZE = Size(24, 32)
HALF = Mask(np.repeat(np.array([[0, 255]], np.uint8), 16, axis=1).repeat(24, axis=0)[..., None])
"""Black on the left, white on the right."""


def transform(*weights: float, size: Size = SIZE, answer: Size = SIZE, **options: Any) -> StyleTransform:
    return StyleTransform(size, answer, weights or (1.0,), **options)


def frame(picture: Picture | None = None, mask: Mask | None = None) -> Frame:
    return Frame(picture or Picture(photo()), ColourSpace(), mask)


def finish(subject: StyleTransform, *outputs: Pixels, mask: Mask | None = None, below: Pixels | None = None) -> Pixels:
    return subject.postprocess(frame(below if below is None else Picture(below), mask), outputs).pixels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_strength_goes_from_the_photo_to_the_output(kind: type[np.integer]) -> None:
    below, above = photo().astype(kind), photo(1).astype(kind)
    assert finish(transform(), above, below=below) is above
    assert np.array_equal(finish(transform(strength=0), above, below=below), below)
    middle = finish(transform(strength=0.5), above, below=below)
    assert np.abs(middle - (below.astype(float) + above) / 2).max() <= 0.5


def test_mixture_is_that_of_the_weights() -> None:
    one, other = photo(1), photo(2)
    expected = 0.2 * one + 0.8 * other
    assert np.abs(finish(transform(0.2, 0.8), one, other) - expected).max() <= 0.51


def test_networks_get_one_size_and_the_answer_has_another() -> None:
    subject = transform(size=Size(12, 16), answer=Size(60, 80))
    prepared = subject.preprocess(frame())
    assert np.array_equal(prepared, resize(photo(), 12, 16))
    assert np.array_equal(finish(subject, prepared), resize(prepared, 60, 80))


def test_strength_0_at_another_size_is_the_resized_photo() -> None:
    subject = transform(size=Size(12, 16), answer=Size(48, 64), strength=0)
    assert np.array_equal(finish(subject, subject.preprocess(frame())), resize(photo(), 48, 64))


def test_mask_decides_where() -> None:
    result = finish(transform(strength=0.5), photo(1), mask=HALF)
    assert np.array_equal(result[:, :16], photo()[:, :16])
    assert np.array_equal(result[:, 16:], finish(transform(strength=0.5), photo(1))[:, 16:])


def test_colours_are_kept() -> None:
    grey = np.repeat(photo()[..., :1], 3, axis=2)
    result = finish(transform(preserve_color=True), photo(1), below=grey)
    assert (np.ptp(result, axis=2) == 0).all()
    assert not np.array_equal(result, grey)


def test_transparency_gets_the_answers_size() -> None:
    picture = Picture(photo(), photo(3)[..., 0])
    answer = transform(answer=Size(48, 64), strength=0.5).postprocess(frame(picture), [photo(1)])
    assert answer.alpha is not None
    assert answer.alpha.shape == answer.pixels.shape[:2] == (48, 64)


@pytest.mark.parametrize(
    ("options", "mask", "expected"),
    [
        ({}, None, False),
        ({"strength": 0.9}, None, True),
        ({"preserve_color": True}, None, True),
        ({}, HALF, True),
    ],
)
def test_answer_without_the_photo_is_the_same_where_it_is_not_needed(
    options: dict[str, Any], mask: Mask | None, expected: bool
) -> None:
    subject = transform(**options)
    assert subject.needs_photo(frame(mask=mask)) is expected
    if not expected:
        without = Frame(Picture(photo()[:0, :0]), ColourSpace(), mask)
        assert np.array_equal(subject.postprocess(without, [photo(1)]).pixels, finish(subject, photo(1), mask=mask))
