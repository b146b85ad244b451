import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from model_store import area_reduced, thumbnail
from model_store.golden import pattern
from model_store.networks.reduction import (
    LEAST_CONTRAST,
    Pixels,
    is_own_thumbnail,
    kept_grain,
    least_side,
    reduced_sides,
    squares_along,
    with_grain,
)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 600), side=st.integers(1, 40), upright=st.booleans())
def test_reduction_of_pixels_is_that_of_the_tensor(height: int, width: int, side: int, upright: bool) -> None:
    pixels = noise(height, width).swapaxes(0, int(upright))
    reduced, expected = thumbnail(pixels, side), area_reduced(as_tensor(pixels), side)
    assert reduced.shape == expected.shape
    assert reduced.dtype == torch.float32
    assert (reduced - expected).abs().max() < 1e-6


@pytest.mark.parametrize("size", [(90, 70), (40, 300)])
def test_sixteen_bits_count_as_they_are(size: tuple[int, int]) -> None:
    deep = np.random.default_rng(1).integers(0, 65_536, (*size, 3), np.uint16)
    expected = area_reduced(torch.from_numpy(deep.astype(np.float32)).permute(2, 0, 1)[None] / 65_535, 16)
    assert (thumbnail(deep, 16) - expected).abs().max() < 1e-6
    white = np.full((70_000, 1, 3), 65_535, np.uint16)  # more than 2³² in a column
    assert thumbnail(white, 1).eq(1).all()


def test_a_pixel_is_the_mean_of_its_area_also_between_pixels() -> None:
    image = torch.tensor([[0.0, 0.3, 0.9]]).expand(1, 3, 1, 3)
    reduced = area_reduced(image, 2)
    assert reduced.shape == (1, 3, 1, 2)
    assert torch.allclose(reduced[0, 0, 0], torch.tensor([(0.0 + 0.15) / 1.5, (0.15 + 0.9) / 1.5]))


def test_whole_factors_are_means_of_blocks() -> None:
    image = as_tensor(noise(96, 64))
    assert torch.allclose(area_reduced(image, 24), F.avg_pool2d(image, 4), atol=1e-6)


@given(height=st.integers(20, 70), width=st.integers(20, 70), side=st.integers(1, 30))
def test_the_mean_colour_stays(height: int, width: int, side: int) -> None:
    image = as_tensor(noise(height, width))
    assert torch.allclose(area_reduced(image, side).mean((2, 3)), image.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("side", [(20, 32), (8, 8), (32, 9)])
def test_small_image_is_its_own_thumbnail(side: tuple[int, int]) -> None:
    pixels = noise(*side)
    image = as_tensor(pixels)
    assert area_reduced(image, 32) is image
    assert torch.allclose(thumbnail(pixels, 32), image, atol=1e-7)


def test_sides_keep_their_proportion_and_do_not_vanish() -> None:
    assert reduced_sides(3000, 4000, 256) == (192, 256)
    assert reduced_sides(4000, 30, 256) == (256, 2)
    assert reduced_sides(1, 10_000, 256) == (1, 256)
    assert reduced_sides(200, 100, 256) == (200, 100)


@pytest.mark.parametrize("side", [16, 24, 84, 128, 256, 1024])
def test_golden_inputs_and_training_crops_keep_their_thumbnails(side: int) -> None:
    for height, width in (pattern().shape[:2], (96, 96), (512, 512)):
        pixels = noise(height, width)
        assert not squares_along(height, width, side)
        assert thumbnail(pixels, side).shape[2:] == reduced_sides(height, width, side)
        assert is_own_thumbnail(height, width, side) == (max(height, width) <= side)


@settings(deadline=None)
@given(height=st.integers(1, 2000), width=st.integers(1, 2000), side=st.integers(16, 512))
def test_thumbnail_has_a_least_side_and_a_bounded_area(height: int, width: int, side: int) -> None:
    rows, columns = thumbnail(np.zeros((height, width, 3), np.uint8), side).shape[2:]
    assert min(rows, columns) >= least_side(side)
    assert rows * columns <= 2.5 * side**2  # 2.33 for 40×399 and side 200: four squares, mirrored


@given(shorter=st.integers(1, 3000), longer=st.integers(3001, 10**8), side=st.integers(16, 1024))
def test_squares_lie_evenly_along_the_image(shorter: int, longer: int, side: int) -> None:
    squares = squares_along(shorter, longer, side)
    assert squares_along(longer, shorter, side) == [(columns, rows) for rows, columns in squares]
    assert bool(squares) == (reduced_sides(shorter, longer, side)[0] < least_side(side))
    if squares:
        begins = [columns.start for _, columns in squares]
        lengths = {columns.stop - columns.start for _, columns in squares}
        gaps = [later - earlier for earlier, later in itertools.pairwise(begins)]
        assert all(rows == slice(0, shorter) for rows, _ in squares)
        assert (begins[0], squares[-1][1].stop, len(lengths)) == (0, longer, 1)
        assert max(gaps) - min(gaps) <= 1
        assert min(gaps) >= max(lengths)  # none overlap


@pytest.mark.parametrize("shape", [(100, 428), (61, 300)])
def test_where_four_squares_are_more_than_the_image_it_is_cut_in_two(shape: tuple[int, int]) -> None:
    pixels, half = noise(*shape), shape[1] // 2
    assert torch.allclose(thumbnail(pixels, 256), as_tensor(np.vstack([pixels[:, :half], pixels[:, half:]])))


@pytest.mark.parametrize("upright", [False, True])
def test_strip_of_one_square_has_the_thumbnail_of_four(upright: bool) -> None:
    square = noise(300, 300)
    strip = np.tile(square, (22, 1, 1) if upright else (1, 22, 1))
    four = np.tile(square, (2, 2, 1))
    assert torch.allclose(thumbnail(strip, 256), thumbnail(four, 256), atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 8, 16, 24, 32, 48, 60])
def test_icon_is_mirrored_a_whole_number_of_times(side: int) -> None:
    pixels = noise(side, side)
    mirrored = thumbnail(pixels, 256)
    assert mirrored.shape[2] == mirrored.shape[3]
    assert 92 <= mirrored.shape[2] <= 152
    assert (mirrored.shape[2] - 1) % max(side - 1, 1) == 0
    period = 2 * max(side - 1, 1)
    assert torch.allclose(mirrored[..., :side, :side], as_tensor(pixels))
    assert torch.equal(mirrored, mirrored.flip(2)) or (mirrored.shape[2] - 1) % period
    assert torch.equal(mirrored[..., period:, :], mirrored[..., :-period, :])


def test_narrow_image_is_mirrored_across_alone() -> None:
    pixels = noise(24, 200)
    assert thumbnail(pixels, 256).shape == (1, 3, 116, 200)
    assert torch.allclose(thumbnail(pixels, 256)[..., :24, :], as_tensor(pixels))
    assert thumbnail(pixels.swapaxes(0, 1), 256).shape == (1, 3, 200, 116)


@pytest.mark.parametrize(("height", "width"), [(2, 64), (20, 100), (60, 121)])
def test_narrow_image_that_is_short_is_mirrored_along_too(height: int, width: int) -> None:
    pixels = noise(height, width)
    mirrored = thumbnail(pixels, 256)
    assert mirrored.shape[3] == 2 * width - 1
    assert torch.equal(mirrored, mirrored.flip(3))
    assert torch.allclose(mirrored[..., :height, :width], as_tensor(pixels))


def test_arrays_that_may_not_be_written_are_read() -> None:
    pixels = noise(50, 60)
    pixels.flags.writeable = False
    assert thumbnail(pixels, 16).shape == (1, 3, 13, 16)


@pytest.mark.parametrize("side", [(4_000, 6_000), (1, 24_000_000), (24_000_000, 1), (90, 250_000)])
def test_memory_does_not_grow_with_the_image(side: tuple[int, int]) -> None:
    pixels = np.broadcast_to(np.array([10, 20, 30], np.uint8), (*side, 3)).copy()
    tracemalloc.start()
    reduced = thumbnail(pixels, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes / 5  # in float32, the image would take four times its bytes
    assert torch.allclose(reduced * 255, torch.tensor([10.0, 20.0, 30.0])[:, None, None].expand_as(reduced))


def test_grain_is_added_to_what_has_no_contrast_alone() -> None:
    ramp = torch.linspace(0, 1, 96).expand(1, 3, 64, 96)
    assert torch.equal(with_grain(ramp), ramp)
    checks = (torch.arange(64)[:, None] + torch.arange(96)).remainder(2).expand(1, 3, 64, 96).float()
    for flat in (torch.full((1, 3, 64, 96), 0.4), checks):
        grainy = with_grain(flat)
        assert torch.equal(grainy, with_grain(flat))
        assert F.avg_pool2d(grainy, 4).std().item() == pytest.approx(LEAST_CONTRAST, rel=0.1)
        assert abs((grainy - flat).mean()) < 1e-3


def test_grain_on_a_device_stays_where_graphs_read_it() -> None:
    """Devices of the processor stand in for eight GPUs, with thumbnails of three sizes on each."""
    places = [(torch.device("cpu", number), 4**power) for number in range(8) for power in (5, 6, 7)]
    kept = [kept_grain(*place) for place in places]
    assert all(kept_grain(*place) is tensor for place, tensor in zip(places, kept, strict=True))


def test_grain_fades_with_the_contrast_of_each_picture() -> None:
    ramp = torch.linspace(-1, 1, 96).expand(1, 3, 64, 96) * 3**0.5  # of deviation 1
    pictures = 0.5 + torch.cat([ramp * share * LEAST_CONTRAST for share in (0.0, 0.5, 0.9, 1.1)])
    added = (with_grain(pictures) - pictures).std((1, 2, 3))
    assert (added[:-1] > added[1:]).all()
    assert added[-1] == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (61, 3)])
def test_pictures_smaller_than_a_mean_have_grain_too(size: tuple[int, int]) -> None:
    assert with_grain(torch.zeros(2, 3, *size)).shape == (2, 3, *size)
