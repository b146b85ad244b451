import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.trainer.samples import loss_network_file, style_config
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.objective import StyleWeights, nearest_features, style_objective
from trainer.style_levels import StyleLevel
from trainer.task import build


def blots(side: int, count: int, seed: int) -> Tensor:
    """A smooth random image (1, 3, side, side) of `count` blots a side."""
    coarse = torch.rand(1, 3, count, count, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)


@pytest.fixture
def network(tmp_path: Path) -> LossNetwork:
    return load_loss_network(str(loss_network_file(tmp_path / "loss.safetensors")))


def terms(style: StyleLevel, painted: Tensor, weights: list[float], neighbour_weight: float) -> dict[str, float]:
    near = torch.tensor(neighbour_weight)
    found = style.terms(painted, torch.tensor(weights), near, pooled=False)
    return {name: term.item() for name, term in found}


def test_terms_are_those_of_the_objective_at_the_smaller_size(network: LossNetwork) -> None:
    painting, painted, options = blots(128, 9, 0), blots(96, 7, 1), StyleWeights.model_validate({})
    small, seen = F.avg_pool2d(painting, 2), F.avg_pool2d(painted, 2)
    objective = style_objective(options, network, small)
    features = network(seen, objective.layers)
    weights = objective.style_weights(0.5)
    wanted = math.fsum(term.item() for term in objective.style_terms(features, weights).values())
    nearest = nearest_features(objective, network, small).distance(features).item()
    found = terms(StyleLevel(2, options, network, painting), painted, weights, 3.0)
    assert found == {"style_1/2": pytest.approx(wanted), "neighbours_1/2": pytest.approx(3 * nearest)}


def test_the_painting_itself_costs_nothing(network: LossNetwork) -> None:
    painting, options = blots(256, 19, 0), StyleWeights.model_validate({})
    style = StyleLevel(4, options, network, painting)
    weights = style_objective(options, network, painting).style_weights()
    assert terms(style, painting, weights, 1.0) == {
        "style_1/4": pytest.approx(0, abs=1e-6),
        "neighbours_1/4": pytest.approx(0, abs=1e-4),
    }


def test_without_their_weight_neighbours_are_not_compared(network: LossNetwork) -> None:
    style = StyleLevel(2, StyleWeights.model_validate({}), network, blots(128, 9, 0))
    weights = torch.ones(len(network.layout.style_layers))
    assert [name for name, _ in style.terms(blots(64, 5, 1), weights, None, pooled=False)] == ["style_1/2"]


def test_each_level_has_its_share_of_the_weights(tmp_path: Path) -> None:
    costs = []
    for levels in (1, 2):
        config = style_config(tmp_path, style_levels=levels, neighbour_weight=4.0, image_size=64)
        task = build(config, Hardware.of("cpu", "fp32"))
        with torch.no_grad():
            terms = task.losses(task.inputs(task.photographs.batch(0), 0))
        costs.append({name: term.item() for name, term in terms.items()})
    one, two = costs
    assert two.keys() - one.keys() == {"style_1/2", "neighbours_1/2"}
    own = [name for name in one if name.startswith(("style", "neighbours"))]
    assert [two[name] for name in own] == pytest.approx([one[name] / 2 for name in own])


@pytest.mark.parametrize(("side", "levels", "enough"), [(63, 2, 64), (255, 4, 256)])
def test_too_small_crops_are_refused_with_what_would_do(tmp_path: Path, side: int, levels: int, enough: int) -> None:
    with pytest.raises(ValueError, match=f"--style-levels {levels} wants crops of at least {enough} pixels"):
        style_config(tmp_path, image_size=side, style_levels=levels)
    assert style_config(tmp_path, image_size=enough, style_levels=levels).style_levels == levels
    assert style_config(tmp_path, image_size=side, style_levels=levels - 1).style_levels == levels - 1


def test_too_small_painting_is_refused_with_what_would_do(network: LossNetwork) -> None:
    options, painting = StyleWeights.model_validate({}), blots(128, 9, 0)
    with pytest.raises(TrainerError, match="at least 128 pixels a side; with --style-size it has 128×127"):
        StyleLevel(4, options, network, painting[:, :, 1:])
    assert StyleLevel(4, options, network, painting).factor == 4
