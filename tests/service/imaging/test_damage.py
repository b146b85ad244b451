import io

import numpy as np
import pytest
from PIL import Image

from service.imaging.damage import Damage, Fault, assess, assess_tables, blockiness, jpeg_quality, noise
from service.imaging.pixels import Pixels, to_luma


def picture(width: int = 320, height: int = 200, seed: int = 0) -> Pixels:
    """Soft areas, edges, and fine grey texture, as photographs have."""
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(30, 226, (7, 11, 3), dtype=np.uint8))
    soft = np.asarray(blocks.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    texture = rng.normal(0, 12, (height, width, 1)) * (np.linspace(0, 1, width) > 0.7)[:, None]
    return (soft + texture).round().clip(0, 255).astype(np.uint8)


def jpeg(pixels: Pixels, quality: int) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.parametrize("quality", range(1, 101))
def test_the_quality_is_told_from_the_tables(quality: int) -> None:
    tables = jpeg(picture(64, 64), quality).quantization  # type: ignore[attr-defined] # of a JpegImageFile
    assert jpeg_quality(tables) == quality


def test_the_quality_of_other_tables_is_the_nearest_one() -> None:
    assert [jpeg_quality({0: [entry] * 64}) for entry in (1, 255, 3000)] == [100, 1, 1]
    assert jpeg_quality({1: [58] * 64, 3: [1] * 64}) == 50


def test_a_low_quality_is_damage() -> None:
    verdicts = {q: assess_tables(jpeg(picture(64, 64), q).quantization) for q in (57, 79, 85, 95)}  # type: ignore[attr-defined]
    assert [bool(verdict) for verdict in verdicts.values()] == [True, True, False, False]
    assert str(verdicts[57]) == "compressed (JPEG quality 57)"


@pytest.mark.parametrize("seed", range(6))
def test_a_clean_picture_is_clean(seed: int) -> None:
    assert assess(picture(seed=seed)) == Damage()
    assert str(Damage()) == "clean"


@pytest.mark.parametrize("quality", [40, 60])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 5)])
def test_blocks_are_found_wherever_they_begin(quality: int, top: int, left: int) -> None:
    saved = np.asarray(jpeg(picture(), quality))[top:, left:]
    assert assess(saved).fault is Fault.BLOCKS
    assert assess(np.rot90(saved)).fault is Fault.BLOCKS


def test_a_fence_is_not_taken_for_blocks() -> None:
    fence = picture()
    fence[:, ::8] = 20
    assert blockiness([to_luma(fence).astype(np.float32)]) < 1.1


@pytest.mark.parametrize(("deviation", "fault"), [(1.0, Fault.NONE), (8.0, Fault.NOISE)])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_found_in_grey_and_in_colour(deviation: float, fault: Fault, channels: int) -> None:
    noisy = picture() + np.random.default_rng(1).normal(0, deviation, (200, 320, channels))
    assert assess(noisy.round().clip(0, 255).astype(np.uint8)).fault is fault


def test_noise_is_measured_in_levels() -> None:
    flat = 128 + np.random.default_rng(2).normal(0, 4, (256, 256, 1)) + np.zeros(3)
    colours, luma = noise([flat.round().astype(np.uint8)])
    assert colours == 0
    assert luma == pytest.approx(2.8, abs=0.4)  # of its quietest blocks


def test_a_large_image_is_judged_by_samples_all_over_it() -> None:
    large = np.tile(picture(320, 320), (6, 5, 1))
    assert assess(large) == Damage()
    assert assess(np.asarray(jpeg(large, 50))).fault is Fault.BLOCKS


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 40), (9, 9), (31, 300)])
def test_nothing_is_said_of_images_that_are_too_small(height: int, width: int) -> None:
    assert assess(np.full((height, width, 3), 90, np.uint8)) == Damage()
