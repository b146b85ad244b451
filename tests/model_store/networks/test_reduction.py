import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from model_store import area_reduced, thumbnail
from model_store.networks.reduction import Pixels, reduced_sides


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 300), side=st.integers(1, 40))
def test_reduction_of_pixels_is_that_of_the_tensor(height: int, width: int, side: int) -> None:
    pixels = noise(height, width)
    reduced = thumbnail(pixels, side)
    assert reduced.shape == (1, 3, *reduced_sides(height, width, side))
    assert reduced.dtype == torch.float32
    assert (reduced - area_reduced(as_tensor(pixels), side)).abs().max() < 1e-6


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


@given(height=st.integers(1, 70), width=st.integers(1, 70), side=st.integers(1, 30))
def test_the_mean_colour_stays(height: int, width: int, side: int) -> None:
    image = as_tensor(noise(height, width))
    assert torch.allclose(area_reduced(image, side).mean((2, 3)), image.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("side", [(20, 32), (1, 1), (32, 7)])
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
