import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trainer.data import Pixels
from trainer.degradation import (
    blurred,
    degrade,
    gaussian_kernel,
    resized,
    through_jpeg,
    with_gaussian_noise,
    with_photon_noise,
)


def smooth(width: int = 96, height: int = 64) -> Pixels:
    """A picture with soft edges."""
    blocks = np.random.default_rng(3).integers(40, 216, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC))


def differences(one: Pixels, other: Pixels) -> NDArray[np.float64]:
    return one.astype(np.float64) - other.astype(np.float64)


def test_equal_generators_give_equal_damage() -> None:
    picture = smooth()
    one, same, other = (degrade(picture, 4, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_damaged_image_is_reduced_by_the_scale_and_still_the_same_picture(scale: int) -> None:
    picture = smooth()
    plain = resized(picture, (96 // scale, 64 // scale), Image.Resampling.BOX)
    errors = []
    for seed in range(30):
        small = degrade(picture, scale, np.random.default_rng(seed))
        assert small.shape == plain.shape
        assert small.dtype == np.uint8
        errors.append(np.abs(differences(small, plain)).mean())
    assert max(errors) < 25
    assert min(errors) < 2  # some photographs are hardly damaged
    assert len(set(errors)) == 30


def test_a_kernel_has_its_deviations_along_its_own_axes() -> None:
    kernel = gaussian_kernel(2.0, 1.0, math.pi / 2)
    assert kernel.shape == (13, 13)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    y, x = np.mgrid[-6:7, -6:7]
    assert (kernel * x**2).sum() == pytest.approx(1.0, rel=0.05)
    assert (kernel * y**2).sum() == pytest.approx(4.0, rel=0.1)


def test_blur_spreads_a_point_and_keeps_flat_areas() -> None:
    point = np.zeros((21, 21, 3), np.uint8)
    point[10, 10] = 255
    kernel = gaussian_kernel(1.0, 1.0, 0.0)
    assert np.abs(differences(blurred(point, kernel)[7:14, 7:14, 0], np.rint(255 * kernel).astype(np.uint8))).max() <= 1
    flat = np.full((9, 9, 3), 77, np.uint8)
    assert np.array_equal(blurred(flat, kernel), flat)


def test_blur_reaches_as_far_as_it_likes_in_small_images() -> None:
    kernel = gaussian_kernel(2.0, 2.0, 0.0)
    row = np.array([0, 90, 180, 240], np.uint8)
    thin = np.broadcast_to(row[None, :, None], (1, 4, 3))
    repeated = np.broadcast_to(np.tile([*row, *row[-2:0:-1]], 9)[None, :, None], (9, 54, 3)).astype(np.uint8)
    assert np.array_equal(blurred(thin, kernel)[0], blurred(repeated, kernel)[4, 24:28])


@pytest.mark.parametrize("side", [1, 2, 4, 6])
def test_small_images_can_be_damaged(side: int) -> None:
    picture = smooth(4 * side, 4 * side)
    for seed in range(40):
        assert degrade(picture, 4, np.random.default_rng(seed)).shape == (side, side, 3)


@pytest.mark.parametrize("grey", [True, False])
def test_gaussian_noise_has_its_deviation(grey: bool) -> None:
    flat = np.full((100, 100, 3), 128, np.uint8)
    noise = differences(with_gaussian_noise(flat, 5.0, np.random.default_rng(0), grey=grey), flat)
    assert noise.std() == pytest.approx(5, rel=0.05)
    assert abs(noise.mean()) < 0.2
    assert np.array_equal(noise[..., 0], noise[..., 1]) is grey


def test_photon_noise_grows_with_the_root_of_the_light() -> None:
    rng = np.random.default_rng(0)
    deviations = [
        differences(with_photon_noise(np.full((100, 100, 3), level, np.uint8), 400.0, rng), np.uint8(level)).std()  # type: ignore[arg-type]
        for level in (32, 128)
    ]
    assert deviations[1] == pytest.approx(255 * math.sqrt(128 / 255 / 400), rel=0.05)
    assert deviations[1] / deviations[0] == pytest.approx(2, rel=0.05)


def test_a_lower_quality_is_further_from_the_picture() -> None:
    picture = smooth()
    errors = [np.abs(differences(through_jpeg(picture, q, "4:2:0"), picture)).mean() for q in (95, 60, 30)]
    assert errors == sorted(errors)
    assert 0 < errors[0] < errors[2]
