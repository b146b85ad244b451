from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.samples import style_config
from trainer.blotches import blotch_energy
from trainer.hardware import Hardware
from trainer.task import build

GREY, ORANGE, DARK = (torch.tensor(colour)[:, None, None] for colour in ([0.5] * 3, [0.9, 0.5, 0.1], [0.2] * 3))


def stripes(one: Tensor, other: Tensor, width: int, side: int = 128) -> Tensor:
    """(1, 3, side, side): vertical stripes of two colours (3, 1, 1)."""
    first = torch.arange(side).div(width, rounding_mode="floor").remainder(2) == 0
    return torch.where(first, one, other).expand(3, side, side)[None]


def energy(images: Tensor, photographs: Tensor) -> float:
    return blotch_energy(images, photographs).item()


def test_patch_of_another_hue_costs_where_the_photograph_is_even() -> None:
    even, patches = stripes(GREY, GREY, 64), stripes(GREY, ORANGE, 64)
    cost = energy(patches, even)
    assert cost > 0.01
    assert energy(patches.transpose(-1, -2), even) == pytest.approx(cost)
    assert energy(even, even) == 0


def test_hue_may_change_where_the_photograph_changes() -> None:
    patches = stripes(GREY, ORANGE, 64)
    assert energy(patches, patches) == 0
    assert energy(patches, stripes(GREY, DARK, 64)) == 0
    assert energy(patches, stripes(GREY, 0.9 * GREY, 64)) > 0.01


def test_lightness_is_free() -> None:
    assert energy(stripes(GREY, DARK, 64), stripes(GREY, GREY, 64)) == pytest.approx(0, abs=1e-9)


def test_brush_strokes_cost_little() -> None:
    even = stripes(GREY, GREY, 64)
    assert energy(stripes(GREY, ORANGE, 4), even) < 0.01 * energy(stripes(GREY, ORANGE, 64), even)


def test_images_too_small_for_two_squares_cost_nothing() -> None:
    even, patches = (stripes(GREY, other, 16, side=32) for other in (GREY, ORANGE))
    assert energy(patches, even) > 0.01
    assert energy(patches[..., :31], even[..., :31]) == 0


def test_learning_takes_patches_away() -> None:
    even, patches = stripes(GREY, GREY, 64), stripes(GREY, ORANGE, 64).clone().requires_grad_()
    before, learner = energy(patches, even), torch.optim.Adam([patches], lr=0.02)
    for _ in range(30):
        learner.zero_grad()
        blotch_energy(patches, even).backward()
        learner.step()
    assert energy(patches, even) < 0.1 * before


def test_the_weight_of_blotches_is_that_of_the_options(tmp_path: Path) -> None:
    costs = []
    for weight in (0.0, 10.0, 20.0):
        task = build(style_config(tmp_path, image_size=32, blotch_weight=weight), Hardware.of("cpu", "fp32"))
        with torch.no_grad():
            for parameter in task.network.parameters():
                parameter.mul_(4)  # the network as it begins paints no patches
            costs.append(task.losses(task.inputs(task.photographs.batch(0), 0)).get("blotches", torch.zeros(())).item())
    assert costs[0] == 0
    assert costs[1] > 0
    assert costs[2] == pytest.approx(2 * costs[1])
