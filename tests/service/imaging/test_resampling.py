import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling as Pillow

from service.imaging.resampling import CUBIC, LANCZOS, TRIANGLE, Kernel, Resampler, gaussian, resize, to_integers
from tests.service.imaging.images import photo

sides = st.integers(1, 70)
REFERENCES = [(TRIANGLE, Pillow.BILINEAR), (CUBIC, Pillow.BICUBIC), (LANCZOS, Pillow.LANCZOS)]


def noise(height: int, width: int, kind: type[np.integer] = np.uint8) -> NDArray[np.uint8 | np.uint16]:
    made: NDArray[np.uint8 | np.uint16] = np.random.default_rng(0).integers(
        0, np.iinfo(kind).max, (height, width, 3), kind, endpoint=True
    )
    return made


@pytest.mark.parametrize(("kernel", "reference"), REFERENCES)
@given(height=sides, width=sides, new_height=sides, new_width=sides)
def test_result_equals_pillow(
    kernel: Kernel, reference: Pillow, height: int, width: int, new_height: int, new_width: int
) -> None:
    """The reference is a picture in Pillow's mode F, which is computed in full precision."""
    picture = noise(height, width)
    plane = Image.fromarray(picture[..., 1].astype(np.float32))
    expected = np.asarray(plane.resize((new_width, new_height), reference))
    whole = Resampler((height, width), (new_height, new_width), kernel).resample_rows(picture, slice(0, new_height))
    assert np.abs(whole[..., 1] - expected).max() < 0.01


@given(begin=st.integers(0, 99), rows=st.integers(1, 100), factor=st.sampled_from([0.3, 1.0, 2.5]))
def test_rows_computed_alone_equal_those_of_the_whole(begin: int, rows: int, factor: float) -> None:
    picture = noise(round(100 / factor), 20)
    resampler = Resampler((picture.shape[0], picture.shape[1]), (100, 31), LANCZOS)
    end = min(begin + rows, 100)
    band, whole = (resampler.resample_rows(picture, rows) for rows in (slice(begin, end), slice(0, 100)))
    assert np.abs(band - whole[begin:end]).max() < 0.001


def test_sixteen_bits_are_as_exact_as_eight() -> None:
    fine = noise(40, 30, np.uint16)
    small = resize(fine, 100, 17, band_values=1)
    expected = Resampler((40, 30), (100, 17), LANCZOS).resample_rows(fine, slice(0, 100))
    assert small.dtype == np.uint16
    assert np.abs(small - np.clip(expected, 0, 65535)).max() <= 0.51


def test_flat_pictures_stay_flat_and_extremes_in_range() -> None:
    for value in (0, 1, 254, 255):
        assert (resize(np.full((9, 7, 3), value, np.uint8), 31, 5) == value).all()
    edges = np.zeros((8, 8, 3), np.uint8)
    edges[:, 4:] = 255
    assert {0, 255} <= set(np.unique(resize(edges, 40, 40)))


def test_grey_stays_grey() -> None:
    grey = np.repeat(noise(20, 30)[..., :1], 3, axis=2)
    result = resize(grey, 33, 47)
    assert (result == result[..., :1]).all()


def test_picture_of_that_size_is_not_copied() -> None:
    picture = photo()
    assert resize(picture, *picture.shape[:2]) is picture


def test_blur_keeps_the_sum_and_spreads_a_point() -> None:
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1000
    blurred = Resampler((41, 41), (41, 41), gaussian(3)).resample_rows(point, slice(0, 41))[..., 0]
    assert blurred.sum() == pytest.approx(1000, rel=1e-4)
    assert blurred[20, 23] / blurred[20, 20] == pytest.approx(np.exp(-0.5), rel=1e-4)


def test_integers_are_rounded_and_clipped() -> None:
    values = np.array([-3.0, 0.4, 0.6, 254.6, 300.0], np.float32)
    result = to_integers(values, np.dtype(np.uint8))
    assert result.dtype == np.uint8
    assert result.tolist() == [0, 0, 1, 255, 255]
