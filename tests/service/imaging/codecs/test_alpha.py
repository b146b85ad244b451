from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.imaging.codecs import Pixels
from service.imaging.codecs.alpha import FILL_BLOCK, fill_transparent, resize_alpha
from tests.service.imaging.codecs.samples import deep_photo
from tests.service.imaging.images import photo


def disc(height: int, width: int, radius: float) -> Any:
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(rows - height / 2, columns - width / 2) < radius


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_pixels_get_the_colour_around_them(dtype: type[np.uint8 | np.uint16]) -> None:
    most = np.iinfo(dtype).max
    visible = disc(50, 70, 15)
    red = np.zeros((50, 70, 3), dtype)
    red[visible, 0] = most  # the transparent pixels are black
    result = fill_transparent(red, np.where(visible, most, 0).astype(dtype))
    assert result.dtype == dtype
    assert (result == np.array([most, 0, 0], dtype)).all()


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), share=st.floats(0, 1), deep=st.booleans())
def test_visible_pixels_stay(height: int, width: int, share: float, deep: bool) -> None:
    picture = deep_photo(1, height, width) if deep else photo(1, height, width)
    random = np.random.default_rng(0).random((height, width))
    alpha = np.where(random < share, 1, 0).astype(picture.dtype)
    result = fill_transparent(picture, alpha)
    assert np.array_equal(result[alpha > 0], picture[alpha > 0])
    if alpha.any():
        seen = picture[alpha > 0]
        assert (result >= seen.min(axis=0)).all()
        assert (result <= seen.max(axis=0)).all()


def test_nearest_block_gives_the_colour() -> None:
    picture = np.zeros((4 * FILL_BLOCK, 4 * FILL_BLOCK, 3), np.uint8)
    alpha = np.zeros(picture.shape[:2], np.uint8)
    picture[0, 0], picture[-1, -1] = (200, 0, 0), (0, 0, 200)
    alpha[0, 0] = alpha[-1, -1] = 255
    result = fill_transparent(picture, alpha)
    assert result[1, 1].tolist() == [200, 0, 0]
    assert result[-2, -2].tolist() == [0, 0, 200]
    assert result[1, -2].tolist() == [100, 0, 100]


def test_bands_change_nothing() -> None:
    visible = np.where(disc(90, 61, 20), 255, 0).astype(np.uint8)
    whole = fill_transparent(photo(1, 90, 61), visible)
    assert np.array_equal(fill_transparent(photo(1, 90, 61), visible, band_values=200), whole)


def test_picture_that_is_all_visible_or_all_transparent_is_not_copied() -> None:
    for value in (1, 0):
        picture = photo()
        assert fill_transparent(picture, np.full((24, 32), value, np.uint8)) is picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_resized_in_its_own_depth(dtype: type[np.uint8 | np.uint16]) -> None:
    most = np.iinfo(dtype).max
    ramp: Pixels = np.linspace(0, most, 8)[None].repeat(4, axis=0).astype(dtype)
    larger = resize_alpha(ramp, 16, 32)
    assert larger.shape == (16, 32)
    assert larger.dtype == dtype
    assert larger[:, 0].max() < most / 20
    assert larger[:, -1].min() > most * 0.95
    assert np.diff(larger[0].astype(int)).min() >= 0
    assert len(np.unique(larger)) > 20
    assert resize_alpha(ramp, 4, 8) is ramp
