from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.samples import loss_network_file, upscale_config
from trainer.enlargement_objective import EnlargementObjective
from trainer.errors import LossNetworkError
from trainer.hardware import Hardware
from trainer.losses import repeated_error

ENLARGED, WANTED = (torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(2))

WEIGHTS = {
    "feature": "feature_weight",
    "texture": "texture_weight",
    "perceptual": "perceptual_weight",
    "grid": "grid_weight",
    "repetition": "repetition_weight",
}


def terms(folder: Path, **options: Any) -> dict[str, Tensor]:
    """The terms for two images that have nothing in common."""
    network = str(loss_network_file(folder / "loss.safetensors"))
    config = upscale_config(folder, loss_network=network, image_size=64, **options)
    objective = EnlargementObjective(config, Hardware.of("cpu", "fp32"), lambda count: WANTED[:count])
    return objective(ENLARGED, WANTED, objective.inputs(64, 1, np.random.default_rng(0)))


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_term_is_there_where_it_has_a_weight_and_is_proportional_to_it(tmp_path: Path, name: str) -> None:
    once, twice = (terms(tmp_path, **{WEIGHTS[name]: weight}) for weight in (1.0, 2.0))
    assert set(once) == {"pixel", name}
    assert once[name].item() > 0
    assert twice[name].item() == pytest.approx(2 * once[name].item())


def test_an_adversary_has_a_term_and_its_discriminator_one_without_a_weight(tmp_path: Path) -> None:
    once, twice = (terms(tmp_path, adversary_weight=weight, adversary_ramp=0.0) for weight in (1.0, 2.0))
    assert set(once) == {"pixel", "adversary", "discriminator"}
    assert twice["adversary"].item() == pytest.approx(2 * once["adversary"].item())
    assert twice["discriminator"].item() == once["discriminator"].item() > 0


def test_a_layer_that_the_loss_network_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(LossNetworkError, match="vgg19-distilled has no layer 'relu9_9'; it has: relu1_1"):
        terms(tmp_path, feature_weight=1.0, feature_layer="relu9_9")


def test_repetitions_are_those_of_two_pixels_of_the_small_image(tmp_path: Path) -> None:
    found = terms(tmp_path, repetition_weight=3.0)["repetition"]
    assert found.item() == pytest.approx(3 * repeated_error(ENLARGED, WANTED, 4).item())


def test_pixels_are_compared_by_either_loss(tmp_path: Path) -> None:
    difference = ENLARGED - WANTED
    assert terms(tmp_path)["pixel"].item() == pytest.approx(difference.abs().mean().item())
    squared = terms(tmp_path, pixel_loss="l2", pixel_weight=2.0)["pixel"]
    assert squared.item() == pytest.approx(2 * difference.square().mean().item())
