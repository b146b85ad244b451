import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service import resampling
from service.back_projection import project_back
from service.photographs import Pixels
from service.resampling import CUBIC, Resampling, resized
from tests.service.live import photo


def reduced(enlarged: Pixels, original: Pixels) -> Pixels:
    """By Pillow: another antialiased bicubic reduction than ours."""
    return np.asarray(
        Image.fromarray(enlarged).resize((original.shape[1], original.shape[0]), Image.Resampling.BICUBIC)
    )


@given(seed=st.integers(0, 99), scale=st.sampled_from([2, 3, 4, 8]), shift=st.integers(-20, 20))
def test_reduced_result_is_the_original(seed: int, scale: int, shift: int) -> None:
    original = np.clip(photo(seed, 20, 30), 40, 215)
    enlarged = np.clip(resized(original, 20 * scale, 30 * scale).astype(int) + shift, 0, 255).astype(np.uint8)
    project_back(enlarged, original)
    difference = reduced(enlarged, original).astype(int) - original
    assert np.abs(difference).max() <= 2
    assert np.abs(difference).mean() < 0.3
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.1


def test_sixteen_bits_are_corrected_in_their_own_steps() -> None:
    original = photo().astype(np.uint16) * 200 + 3000
    enlarged = resized(original, 96, 128)
    enlarged += np.uint16(150)  # less than a level of eight bits
    project_back(enlarged, original)
    difference = Resampling((96, 128), (24, 32), CUBIC).band(enlarged, 0, 24) - original
    assert np.abs(difference.mean()) < 3


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    original = photo(height=50)
    wrong = resized(photo(1, 50), 200, 128)
    whole, banded = wrong.copy(), wrong.copy()
    project_back(whole, original)
    monkeypatch.setattr(resampling, "BAND", 1)
    project_back(banded, original)
    assert np.abs(whole.astype(int) - banded).max() <= 1
    assert not np.array_equal(whole, wrong)


def test_grey_stays_grey() -> None:
    original = np.repeat(photo()[..., :1], 3, axis=2)
    enlarged = resized(original, 96, 128) // 2
    project_back(enlarged, original)
    assert (enlarged == enlarged[..., :1]).all()
