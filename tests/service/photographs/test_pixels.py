import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.photographs import pixels as subject
from service.photographs.pixels import bands, luma, to_8_bits, upright
from tests.service.live import photo
from tests.service.photographs.samples import deep_photo


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), multiple=st.integers(1, 9))
def test_bands_are_all_rows_once(height: int, width: int, multiple: int) -> None:
    slices = list(bands((height, width, 3), multiple))
    assert [slice(0, 0), *slices][-1].stop == height
    assert [rows.start for rows in slices] == [0, *(rows.stop for rows in slices[:-1])]
    assert all((rows.stop - rows.start) % multiple == 0 for rows in slices[:-1])


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "BAND", 100)


def test_sixteen_bits_are_rounded_to_eight(small_bands: None) -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(-1, 64)
    assert np.array_equal(to_8_bits(values), np.rint(values / 257).astype(np.uint8))
    assert to_8_bits(photo()) is not None
    assert np.array_equal(to_8_bits(photo()), photo())


@pytest.mark.parametrize("picture", [photo(), deep_photo()])
def test_luma_of_grey_is_grey(picture: np.ndarray, small_bands: None) -> None:
    grey = picture[..., 0]
    assert np.array_equal(luma(np.stack([grey] * 3, axis=-1)), grey)
    expected = picture @ np.array([0.299, 0.587, 0.114])
    assert luma(picture).dtype == picture.dtype
    assert np.abs(luma(picture) - expected).max() <= 1 + expected.max() / 2**15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_was_before_it_was_turned(orientation: int) -> None:
    shown = photo(height=7, width=5)
    stored = {  # EXIF: where the picture's first row and first column are on what is stored
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.swapaxes(0, 1),
        6: shown.swapaxes(0, 1)[::-1],
        7: shown.swapaxes(0, 1)[::-1, ::-1],
        8: shown.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    assert np.array_equal(upright(stored, orientation), shown)
    assert upright(stored, orientation).flags.c_contiguous


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    assert np.array_equal(upright(photo(), orientation), photo())
