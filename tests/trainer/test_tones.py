from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.samples import style_config
from trainer.hardware import Hardware
from trainer.task import build
from trainer.tones import KEPT, SQUARE, lost_tones

LIGHT, DARK = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.1, 0.2, 0.3])


def mosaic(rows: int = 9, columns: int = 11) -> Tensor:
    """(2, 3, 8 · rows, 8 · columns): squares of random colours."""
    colours = torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(0))
    return colours.repeat_interleave(SQUARE, 2).repeat_interleave(SQUARE, 3)


def halves(one: Tensor, other: Tensor, side: int = 64) -> Tensor:
    """(1, 3, side, side): one colour on the left, another one on the right."""
    image = torch.empty(1, 3, side, side)
    image[..., : side // 2], image[..., side // 2 :] = (colour[None, :, None, None] for colour in (one, other))
    return image


def lost(images: Tensor, photographs: Tensor) -> float:
    return lost_tones(images, photographs).item()


@pytest.mark.parametrize("shape", [(64, 64), (40, 130), (33, 16)])
def test_photograph_itself_has_lost_nothing(shape: tuple[int, int]) -> None:
    photographs = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    assert lost(photographs, photographs) == 0


def test_painting_of_one_tone_has_lost_all_that_it_has_to_keep() -> None:
    photographs = mosaic()
    assert lost(torch.full_like(photographs, 0.5), photographs) == pytest.approx(KEPT, rel=0.01)


def test_contrast_may_be_the_share_that_is_to_be_kept() -> None:
    photographs = mosaic()
    assert lost(0.2 + KEPT * photographs, photographs) == pytest.approx(0, abs=1e-6)
    half = lost(0.2 + KEPT / 2 * photographs, photographs)
    assert half == pytest.approx(KEPT / 2, rel=0.01)


def test_light_and_dark_that_have_changed_places_cost_more_than_one_tone() -> None:
    photographs, inverted = halves(LIGHT, DARK), halves(DARK, LIGHT)
    assert lost(inverted, photographs) > 1.5 * lost(halves(LIGHT, LIGHT), photographs)
    assert lost(inverted.mT, photographs.mT) == pytest.approx(lost(inverted, photographs))


def test_contrast_beyond_black_and_white_is_none() -> None:
    photographs = mosaic()
    assert lost(1.5 + photographs, photographs) == lost(torch.ones_like(photographs), photographs)
    assert lost(photographs - 1.5, photographs) == lost(torch.zeros_like(photographs), photographs)


def test_colours_are_free() -> None:
    red = torch.tensor([0.6, 0.1, 0.1])
    luma = torch.tensor([65.481, 128.553, 24.966])
    grey = (red @ luma / luma.sum()).expand(3)
    assert lost(halves(grey, DARK), halves(red, DARK)) == pytest.approx(0, abs=1e-6)


def test_each_photograph_counts_by_itself() -> None:
    faint, strong = halves(LIGHT, LIGHT - 0.1), halves(LIGHT, DARK)
    blank = torch.full_like(faint, 0.5)
    both = lost(torch.cat([blank, blank]), torch.cat([faint, strong]))
    assert both == pytest.approx((lost(blank, faint) + lost(blank, strong)) / 2)


def test_photograph_without_contrast_asks_for_none() -> None:
    even, patches = halves(LIGHT, LIGHT), halves(LIGHT, DARK)
    assert lost(patches, even) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(2 * SQUARE - 1, 2 * SQUARE - 1), (SQUARE - 1, 80), (1, 1)])
def test_images_too_small_for_two_squares_cost_nothing(shape: tuple[int, int]) -> None:
    photographs = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    assert lost(torch.zeros_like(photographs), photographs) == 0


def test_learning_brings_tones_back() -> None:
    photographs = halves(LIGHT, DARK)
    painted = torch.full_like(photographs, 0.5).requires_grad_()
    before, learner = lost(painted, photographs), torch.optim.Adam([painted], lr=0.02)
    for _ in range(30):
        learner.zero_grad()
        lost_tones(painted, photographs).backward()
        learner.step()
    assert lost(painted, photographs) < 0.05 * before


def test_the_weight_of_tones_is_that_of_the_options(tmp_path: Path) -> None:
    costs = []
    for weight in (0.0, 10.0, 20.0):
        task = build(style_config(tmp_path, image_size=32, tone_weight=weight), Hardware.of("cpu", "fp32"))
        with torch.no_grad():
            for parameter in task.network.parameters():
                parameter.zero_()  # the painting has one tone
            costs.append(task.losses(task.inputs(task.photographs.batch(0), 0)).get("tones", torch.zeros(())).item())
    assert costs[0] == 0
    assert costs[1] > 0
    assert costs[2] == pytest.approx(2 * costs[1])
