import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.trainer.samples import published, style_config
from trainer.stability_loss import NOISE, STEP, disturbed, stability_loss


def photographs(side: int = 36) -> Tensor:
    coarse = torch.rand((2, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0.1, 0.9)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_what_moves_with_the_photograph_costs_its_noise_alone() -> None:
    images = photographs()
    loss = stability_loss(lambda image: image, images, disturbed(images, rng()))
    assert loss.item() == pytest.approx(NOISE**2, rel=0.1)


def test_what_averages_noise_away_costs_less() -> None:
    def blurred(image: Tensor) -> Tensor:
        return F.avg_pool2d(image, 5, 1, 2)

    loss = stability_loss(blurred, blurred(photographs()), disturbed(photographs(), rng()))
    assert loss.item() < 0.1 * NOISE**2


def test_pattern_that_stays_where_the_photograph_moves_costs() -> None:
    """A pattern of two pixels at fixed places: moved by an odd number of pixels it is inverted."""

    def striped(image: Tensor) -> Tensor:
        stripes = torch.arange(image.shape[-1]).remainder(2).float()
        return 0.5 * image + 0.5 * stripes

    costs = {
        seed: stability_loss(striped, striped(photographs()), disturbed(photographs(), rng(seed))).item()
        for seed in range(12)
    }
    moves = {seed: [int(generator.integers(STEP + 1)) for _ in range(2)] for seed in costs for generator in [rng(seed)]}
    odd = {seed for seed, (_, left) in moves.items() if left % 2}
    assert odd
    assert odd != set(costs)
    for seed, cost in costs.items():
        assert cost == pytest.approx(0.25 if seed in odd else 0.25 * NOISE**2, rel=0.2)


def test_borders_do_not_count() -> None:
    def framed(image: Tensor) -> Tensor:
        result = image.clone()
        result[..., :2, :] = 1
        return result

    images = photographs()
    assert stability_loss(framed, images, disturbed(images, rng())).item() == pytest.approx(NOISE**2, rel=0.1)


def test_network_learns_to_be_stable(tmp_path: Path) -> None:
    others = {"content_weight": 0, "style_weight": 0, "tv_weight": 0, "grid_weight": 0}
    config = style_config(
        tmp_path, norm="none", steps=40, ema=0, learning_rate=0.01, precision="fp32", stability_weight=100, **others
    )
    manifest = published(config)
    lines = [json.loads(line) for line in (config.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["stability"] < 0.5 * lines[0]["stability"]
    assert manifest.provenance.recipe["stability_weight"] == 100
