import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling as Pillow

from service import resampling
from service.resampling import CUBIC, LANCZOS, TRIANGLE, Kernel, Resampling, bands, gaussian, resized
from tests.service.live import photo

sides = st.integers(1, 70)
REFERENCES = [(TRIANGLE, Pillow.BILINEAR), (CUBIC, Pillow.BICUBIC), (LANCZOS, Pillow.LANCZOS)]


def noise(height: int, width: int, kind: type[np.integer] = np.uint8) -> NDArray[np.uint8 | np.uint16]:
    made: NDArray[np.uint8 | np.uint16] = np.random.default_rng(0).integers(
        0, np.iinfo(kind).max, (height, width, 3), kind, endpoint=True
    )
    return made


@pytest.mark.parametrize(("kernel", "reference"), REFERENCES)
@given(height=sides, width=sides, new_height=sides, new_width=sides)
def test_resampling_is_pillows(
    kernel: Kernel, reference: Pillow, height: int, width: int, new_height: int, new_width: int
) -> None:
    """Pillow computes grey pictures of floats in full precision."""
    picture = noise(height, width)
    plane = Image.fromarray(picture[..., 1].astype(np.float32))
    expected = np.asarray(plane.resize((new_width, new_height), reference))
    whole = Resampling((height, width), (new_height, new_width), kernel).band(picture, 0, new_height)
    assert np.abs(whole[..., 1] - expected).max() < 0.01


@given(begin=st.integers(0, 99), rows=st.integers(1, 100), factor=st.sampled_from([0.3, 1.0, 2.5]))
def test_band_is_a_part_of_the_whole(begin: int, rows: int, factor: float) -> None:
    picture = noise(round(100 / factor), 20)
    subject = Resampling(picture.shape[:2], (100, 31), LANCZOS)
    end = min(begin + rows, 100)
    difference = subject.band(picture, begin, end) - subject.band(picture, 0, 100)[begin:end]
    assert np.abs(difference).max() < 0.001


def test_sixteen_bits_are_as_exact_as_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "BAND", 1)
    fine = noise(40, 30, np.uint16)
    small = resized(fine, 100, 17)
    expected = Resampling((40, 30), (100, 17), LANCZOS).band(fine, 0, 100)
    assert small.dtype == np.uint16
    assert np.abs(small - np.clip(expected, 0, 65535)).max() <= 0.51


def test_flat_pictures_stay_flat_and_extremes_in_range() -> None:
    for value in (0, 1, 254, 255):
        assert (resized(np.full((9, 7, 3), value, np.uint8), 31, 5) == value).all()
    edges = np.zeros((8, 8, 3), np.uint8)
    edges[:, 4:] = 255
    assert {0, 255} <= set(np.unique(resized(edges, 40, 40)))


def test_grey_stays_grey() -> None:
    grey = np.repeat(noise(20, 30)[..., :1], 3, axis=2)
    result = resized(grey, 33, 47)
    assert (result == result[..., :1]).all()


def test_own_size_is_the_picture_itself() -> None:
    picture = photo()
    assert resized(picture, *picture.shape[:2]) is picture


def test_blur_keeps_the_sum_and_spreads_a_point() -> None:
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1000
    blurred = Resampling((41, 41), (41, 41), gaussian(3)).band(point, 0, 41)[..., 0]
    assert blurred.sum() == pytest.approx(1000, rel=1e-4)
    assert blurred[20, 23] / blurred[20, 20] == pytest.approx(np.exp(-0.5), rel=1e-4)


@given(height=st.integers(1, 5000), row=st.integers(1, 10**6))
def test_bands_cover_every_row_once(height: int, row: int) -> None:
    ends = list(bands(height, row))
    assert [begin for begin, _ in ends] == [0, *(end for _, end in ends[:-1])]
    assert ends[-1][1] == height
    assert all((end - begin) * row <= max(resampling.BAND, resampling.BLOCK * row) for begin, end in ends)
