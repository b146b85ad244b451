import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service import resampling
from service.blending import LUMA, blended, in_colours_of, mixed
from service.photographs import Pixels


def pictures(kind: type[np.integer]) -> st.SearchStrategy[Pixels]:
    return arrays(kind, (3, 5, 3))


pairs = st.one_of(*(st.tuples(pictures(kind), pictures(kind)) for kind in (np.uint8, np.uint16)))


@given(pairs)
def test_opacity_is_the_photo_at_0_and_the_painting_at_1(pair: tuple[Pixels, Pixels]) -> None:
    photo, painting = pair
    assert np.array_equal(blended(photo, painting, lambda _begin, _end: 0.0), photo)
    assert np.array_equal(blended(photo, painting, lambda _begin, _end: 1.0), painting)


@given(pairs, st.floats(0, 1), st.floats(0, 1))
def test_opacity_between_is_monotone(pair: tuple[Pixels, Pixels], one: float, other: float) -> None:
    photo, painting = pair
    less, more = (blended(photo, painting, lambda *_, s=s: s).astype(int) for s in sorted((one, other)))
    towards = np.sign(painting.astype(int) - photo)
    assert ((more - less) * towards >= 0).all()
    assert (np.minimum(photo, painting) <= less).all()
    assert (more <= np.maximum(photo, painting)).all()


@given(pairs, st.floats(0, 1))
def test_mixture_is_the_weighted_mean(pair: tuple[Pixels, Pixels], weight: float) -> None:
    one, other = pair
    mixture = mixed([one, other], [weight, 1 - weight])
    expected = weight * one.astype(float) + (1 - weight) * other
    assert mixture.dtype == one.dtype
    assert np.abs(mixture - expected).max() <= 0.51


def test_mixture_of_one_is_itself() -> None:
    painting = np.zeros((2, 2, 3), np.uint8)
    assert mixed([painting], [1.0]) is painting


@given(pairs)
def test_colour_has_the_luma_of_the_painting_and_the_hue_of_the_photo(pair: tuple[Pixels, Pixels]) -> None:
    photo, painting = (picture.astype(float) for picture in pair)
    result = in_colours_of(*pair).astype(float)
    luma = result @ LUMA
    assert np.abs(luma - painting @ LUMA).max() <= 0.51
    chroma, before = result - luma[..., None], photo - (photo @ LUMA)[..., None]
    along = (chroma * before).sum(axis=2, keepdims=True) / np.maximum((before**2).sum(axis=2, keepdims=True), 1e-9)
    assert along.max() <= 1.5
    assert along.min() > -1.5
    assert np.abs(chroma - along * before).max() <= 1.5


@given(st.tuples(pictures(np.uint8), pictures(np.uint8)))
def test_colour_that_exists_is_kept_whole(pair: tuple[Pixels, Pixels]) -> None:
    photo, painting = pair[0] // 4 + 100, pair[1] // 8 + 100
    result = in_colours_of(photo, painting).astype(float)
    chroma = result - (result @ LUMA)[..., None]
    before = photo - (photo.astype(float) @ LUMA)[..., None]
    assert np.abs(chroma - before).max() <= 1.1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colour_of_black_and_white_is_none(kind: type[np.integer]) -> None:
    most = np.iinfo(kind).max
    photo = np.array([[[most, 0, 0], [0, most, 0], [most, most, most]]], kind)
    for value in (0, most):
        painting = np.full_like(photo, value)
        assert (in_colours_of(photo, painting) == value).all()


def test_grey_photo_gives_a_grey_painting() -> None:
    photo = np.full((4, 4, 3), 90, np.uint8)
    painting = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    result = in_colours_of(photo, painting)
    assert (np.ptp(result, axis=2) == 0).all()


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = np.random.default_rng(0).integers(0, 256, (2, 100, 7, 3), np.uint8)
    whole = [in_colours_of(one, other), blended(one, other, lambda *_: 0.3), mixed([one, other], [0.2, 0.8])]
    monkeypatch.setattr(resampling, "BAND", 1)
    banded = [in_colours_of(one, other), blended(one, other, lambda *_: 0.3), mixed([one, other], [0.2, 0.8])]
    for expected, result in zip(whole, banded, strict=True):
        assert np.array_equal(expected, result)
