import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.imaging.back_projection import back_project
from service.imaging.codecs import Pixels
from service.imaging.resampling import CUBIC, Resampler, resize
from tests.service.imaging.images import photo


def reduced(upscaled: Pixels, original: Pixels) -> Pixels:
    """Reduce with Pillow, an implementation other than the one under test."""
    return np.asarray(
        Image.fromarray(upscaled).resize((original.shape[1], original.shape[0]), Image.Resampling.BICUBIC)
    )


@given(seed=st.integers(0, 99), scale=st.sampled_from([2, 3, 4, 8]), shift=st.integers(-20, 20))
def test_reduced_result_is_the_original(seed: int, scale: int, shift: int) -> None:
    original = np.clip(photo(seed, 20, 30), 40, 215)
    upscaled = np.clip(resize(original, 20 * scale, 30 * scale).astype(int) + shift, 0, 255).astype(np.uint8)
    back_project(upscaled, original)
    difference = reduced(upscaled, original).astype(int) - original
    assert np.abs(difference).max() <= 2
    assert np.abs(difference).mean() < 0.3
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.1


def test_sixteen_bits_are_corrected_by_less_than_a_level_of_eight() -> None:
    original = photo().astype(np.uint16) * 200 + 3000
    upscaled = resize(original, 96, 128)
    upscaled += np.uint16(150)  # less than a level of eight bits
    back_project(upscaled, original)
    difference = Resampler((96, 128), (24, 32), CUBIC).resample_rows(upscaled, slice(0, 24)) - original
    assert np.abs(difference.mean()) < 3


def test_bands_change_nothing() -> None:
    original = photo(height=50)
    wrong = resize(photo(1, 50), 200, 128)
    whole, banded = wrong.copy(), wrong.copy()
    back_project(whole, original)
    back_project(banded, original, band_values=1)
    assert np.abs(whole.astype(int) - banded).max() <= 1
    assert not np.array_equal(whole, wrong)


def test_grey_stays_grey() -> None:
    original = np.repeat(photo()[..., :1], 3, axis=2)
    upscaled = resize(original, 96, 128) // 2
    back_project(upscaled, original)
    assert (upscaled == upscaled[..., :1]).all()
