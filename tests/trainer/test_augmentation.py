import numpy as np
import pytest
import torch

from trainer.augmentation import FIXED_ZOOMS, random_part, random_shift, random_zoom, zoomed


def test_images_are_shifted_together_by_every_distance_below_the_most() -> None:
    squares = torch.arange(2 * 3 * 48 * 48).view(2, 3, 48, 48)
    corners = set()
    for seed in range(60):
        window = random_shift(48, 3, np.random.default_rng(seed))
        shifted = window.of(squares)
        top, left = (48 - side for side in shifted.shape[-2:])
        assert torch.equal(shifted, squares[..., top:, left:])
        assert shifted.is_contiguous(memory_format=torch.channels_last)
        corners.add((top, left))
    assert corners == {(top, left) for top in range(3) for left in range(3)}
    assert random_shift(48, 1, np.random.default_rng(0)).of(squares).shape == squares.shape
    small = squares[..., :16, :16]
    assert random_shift(16, 8, np.random.default_rng(0)).of(small).shape == small.shape


def test_shifts_of_one_shape_have_the_same_places() -> None:
    squares = torch.arange(3 * 48 * 48).view(1, 3, 48, 48)
    for seed in range(30):
        usual, fixed = (random_shift(48, 3, np.random.default_rng(seed), fixed_shape=flag) for flag in (False, True))
        assert torch.equal(fixed.of(squares), usual.of(squares)[..., :46, :46])


def test_gradients_arrive_where_a_window_was() -> None:
    image = torch.zeros(1, 1, 4, 4, requires_grad=True)
    random_shift(4, 1, np.random.default_rng(0)).of(image)[..., 1:, 1:].sum().backward()
    assert image.grad is not None
    assert image.grad.sum() == 9


def test_images_are_zoomed_and_mirrored_by_random() -> None:
    image = torch.rand(2, 3, 40, 40)
    drawn = [random_zoom(np.random.default_rng(seed)) for seed in range(40)]
    found = [zoomed(image, each["factor"], mirrored=bool(each["mirrored"])) for each in drawn]
    sides = {one.shape[-1] for one in found}
    assert (min(sides), max(sides)) == pytest.approx((28, 52), abs=2)
    mirrored = 0
    for one in found:
        plain = zoomed(image, one.shape[-1] / 40)
        mirrored += torch.equal(one, plain.transpose(-1, -2))
        assert torch.equal(one, plain) or torch.equal(one, plain.transpose(-1, -2))
    assert 8 < mirrored < 32


def test_few_zooms_are_the_nearest_ones() -> None:
    for seed in range(40):
        usual, fixed = (random_zoom(np.random.default_rng(seed), fixed_shape=flag) for flag in (False, True))
        assert fixed["factor"] in FIXED_ZOOMS
        assert fixed["factor"] == pytest.approx(usual["factor"], abs=0.0501)
        assert fixed["mirrored"] == usual["mirrored"]


def test_zooming_out_does_not_alias() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)
    assert zoomed(stripes, 0.5)[..., 4:-4].std().item() < 0.02
    assert zoomed(stripes, 0.5).shape == (1, 3, 32, 32)


def test_a_part_is_one_square_of_all_images() -> None:
    squares = torch.arange(2 * 3 * 40 * 40).view(2, 3, 40, 40)
    parts = [random_part(squares, 16, np.random.default_rng(seed)) for seed in range(8)]
    corners = [divmod(int(found[0, 0, 0, 0]), 40) for found in parts]
    for found, (top, left) in zip(parts, corners, strict=True):
        assert torch.equal(found, squares[..., top : top + 16, left : left + 16])
    assert len(set(corners)) > 5
    assert random_part(squares, 40, np.random.default_rng(0)) is squares
