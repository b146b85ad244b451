import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.imaging.pixels import BAND_VALUES, Pixels, apply_orientation, row_bands, to_8_bits, to_luma, widen
from tests.service.imaging.codecs.samples import deep_photo
from tests.service.imaging.images import photo


@given(height=st.integers(1, 5000), row_values=st.integers(1, 10**6), multiple=st.integers(1, 16))
def test_bands_cover_every_row_once(height: int, row_values: int, multiple: int) -> None:
    bands = list(row_bands(height, row_values, multiple))
    assert bands[-1].stop == height
    assert [rows.start for rows in bands] == [0, *(rows.stop for rows in bands[:-1])]
    assert all((rows.stop - rows.start) % multiple == 0 for rows in bands[:-1])
    assert all((rows.stop - rows.start) * row_values <= max(BAND_VALUES, multiple * row_values) for rows in bands)


def test_bands_hold_as_many_values_as_requested() -> None:
    assert list(row_bands(10, 5, band_values=20)) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert list(row_bands(10, 5, 3, band_values=20)) == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]


def test_sixteen_bits_are_rounded_to_eight() -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(-1, 64)
    assert np.array_equal(to_8_bits(values, band_values=100), np.rint(values / 257).astype(np.uint8))
    assert to_8_bits(photo()) is not None
    assert np.array_equal(to_8_bits(photo(), band_values=100), photo())


@pytest.mark.parametrize("picture", [photo(), deep_photo()])
def test_luma_of_grey_is_grey(picture: Pixels) -> None:
    grey = picture[..., 0]
    assert np.array_equal(to_luma(np.stack([grey] * 3, axis=-1), band_values=100), grey)
    expected = picture @ np.array([0.299, 0.587, 0.114])
    luma = to_luma(picture, band_values=100)
    assert luma.dtype == picture.dtype
    assert np.abs(luma - expected).max() <= 1 + expected.max() / 2**15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone(orientation: int) -> None:
    shown = photo(height=7, width=5)
    stored = {  # EXIF: the sides of the upright picture at which the stored first row and first column are
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.swapaxes(0, 1),
        6: shown.swapaxes(0, 1)[::-1],
        7: shown.swapaxes(0, 1)[::-1, ::-1],
        8: shown.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    assert np.array_equal(apply_orientation(stored, orientation), shown)
    assert apply_orientation(stored, orientation).flags.c_contiguous


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_unknown_orientation_changes_nothing(orientation: int) -> None:
    assert np.array_equal(apply_orientation(photo(), orientation), photo())


@pytest.mark.parametrize("bits", [9, 10, 12, 16])
def test_values_are_widened_to_the_whole_range(bits: int) -> None:
    most = 2**bits - 1
    values = np.array([[0, 1, most // 2, most, 65_535]], np.uint16)
    expected = np.rint(np.minimum(values, most) * (65_535 / most))
    assert np.array_equal(widen(values, bits), expected)
