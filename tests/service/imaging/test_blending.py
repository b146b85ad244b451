import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.imaging.blending import LUMA_BT709, blend, mix, transfer_colour
from service.imaging.pixels import BAND_VALUES, Pixels


def pictures(kind: type[np.integer]) -> st.SearchStrategy[Pixels]:
    return arrays(kind, (3, 5, 3))


pairs = st.one_of(*(st.tuples(pictures(kind), pictures(kind)) for kind in (np.uint8, np.uint16)))


@given(pairs)
def test_opacity_0_gives_the_photo_and_1_the_stylized_picture(pair: tuple[Pixels, Pixels]) -> None:
    photo, stylized = pair
    assert np.array_equal(blend(photo, stylized, lambda _begin, _end: 0.0), photo)
    assert np.array_equal(blend(photo, stylized, lambda _begin, _end: 1.0), stylized)


@given(pairs, st.floats(0, 1), st.floats(0, 1))
def test_opacity_between_is_monotone(pair: tuple[Pixels, Pixels], one: float, other: float) -> None:
    photo, stylized = pair
    less, more = (blend(photo, stylized, lambda *_, s=s: s).astype(int) for s in sorted((one, other)))
    towards = np.sign(stylized.astype(int) - photo)
    assert ((more - less) * towards >= 0).all()
    assert (np.minimum(photo, stylized) <= less).all()
    assert (more <= np.maximum(photo, stylized)).all()


@given(pairs, st.floats(0, 1))
def test_mixture_is_the_weighted_mean(pair: tuple[Pixels, Pixels], weight: float) -> None:
    one, other = pair
    mixture = mix([one, other], [weight, 1 - weight])
    expected = weight * one.astype(float) + (1 - weight) * other
    assert mixture.dtype == one.dtype
    assert np.abs(mixture - expected).max() <= 0.51


def test_mixture_of_one_is_itself() -> None:
    stylized = np.zeros((2, 2, 3), np.uint8)
    assert mix([stylized], [1.0]) is stylized


@given(pairs)
def test_colour_has_the_luma_of_the_stylized_picture_and_the_hue_of_the_photo(pair: tuple[Pixels, Pixels]) -> None:
    photo, stylized = (picture.astype(float) for picture in pair)
    result = transfer_colour(*pair).astype(float)
    luma = result @ LUMA_BT709
    assert np.abs(luma - stylized @ LUMA_BT709).max() <= 0.51
    chroma, before = result - luma[..., None], photo - (photo @ LUMA_BT709)[..., None]
    along = (chroma * before).sum(axis=2, keepdims=True) / np.maximum((before**2).sum(axis=2, keepdims=True), 1e-9)
    assert along.max() <= 1.5
    assert along.min() > -1.5
    assert np.abs(chroma - along * before).max() <= 1.5


@given(st.tuples(pictures(np.uint8), pictures(np.uint8)))
def test_colour_within_the_gamut_is_kept(pair: tuple[Pixels, Pixels]) -> None:
    photo, stylized = pair[0] // 4 + 100, pair[1] // 8 + 100
    result = transfer_colour(photo, stylized).astype(float)
    chroma = result - (result @ LUMA_BT709)[..., None]
    before = photo - (photo.astype(float) @ LUMA_BT709)[..., None]
    assert np.abs(chroma - before).max() <= 1.1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_black_and_white_have_no_colour(kind: type[np.integer]) -> None:
    most = np.iinfo(kind).max
    photo = np.array([[[most, 0, 0], [0, most, 0], [most, most, most]]], kind)
    for value in (0, most):
        stylized = np.full_like(photo, value)
        assert (transfer_colour(photo, stylized) == value).all()


def test_grey_photo_gives_a_grey_result() -> None:
    photo = np.full((4, 4, 3), 90, np.uint8)
    stylized = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    result = transfer_colour(photo, stylized)
    assert (np.ptp(result, axis=2) == 0).all()


def test_bands_change_nothing() -> None:
    one, other = np.random.default_rng(0).integers(0, 256, (2, 100, 7, 3), np.uint8)

    def combine(band_values: int) -> list[Pixels]:
        return [
            transfer_colour(one, other, band_values=band_values),
            blend(one, other, lambda *_: 0.3, band_values=band_values),
            mix([one, other], [0.2, 0.8], band_values=band_values),
        ]

    whole, banded = combine(BAND_VALUES), combine(1)
    for expected, result in zip(whole, banded, strict=True):
        assert np.array_equal(expected, result)
