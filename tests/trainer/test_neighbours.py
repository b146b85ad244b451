import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.samples import style_config
from trainer.hardware import Hardware
from trainer.losses import gram_matrix
from trainer.neighbours import MOST, NearestFeatures
from trainer.task import build

CROSS = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
"""Feature vectors of mean 0: what lies between two of them is 45° from both."""

DIAGONAL = [(math.cos(angle), math.sin(angle)) for angle in (math.pi / 4 + k * math.pi / 2 for k in range(4))]
"""The same vectors, turned by 45°."""


def features(vectors: Sequence[Sequence[float]]) -> Tensor:
    """(1, C, 1, number of vectors)."""
    return torch.tensor(vectors, dtype=torch.float32).t()[None, :, None]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distance(painting: Tensor, images: Tensor) -> float:
    return NearestFeatures({"layer": painting}).distance({"layer": images}).item()


def test_painting_itself_is_next_to_itself() -> None:
    painting = noise(1, 5, 20, 30)
    assert distance(painting, painting) == pytest.approx(0, abs=1e-5)


def test_where_a_place_is_does_not_matter() -> None:
    painting = noise(1, 5, 20, 30)
    assert distance(painting, painting.flip((2, 3)).mT) == pytest.approx(0, abs=1e-5)


def test_strength_does_not_matter() -> None:
    painting = noise(1, 5, 20, 30)
    mean = painting.mean((2, 3), keepdim=True)
    assert distance(painting, mean + 3 * (painting - mean)) == pytest.approx(0, abs=1e-5)


def test_vectors_between_those_of_the_painting_are_far_though_gram_matrices_agree() -> None:
    painting, turned = features(CROSS), features(DIAGONAL)
    torch.testing.assert_close(gram_matrix(turned), gram_matrix(painting))
    assert distance(painting, turned) == pytest.approx(1 - math.sqrt(0.5))


def test_what_is_missing_of_the_painting_costs_as_well() -> None:
    """All places are like one of the painting's; of those two are at 90° and one is opposite."""
    assert distance(features(CROSS), features(CROSS[:1] * 4)) == pytest.approx((0 + (0 + 2 + 1 + 1) / 4) / 2)


def test_painting_may_come_up_in_any_image_of_a_batch() -> None:
    halves = torch.cat([features(CROSS[:2]), features(CROSS[2:])])
    assert distance(features(CROSS), halves) == pytest.approx(0, abs=1e-6)


def test_layers_count_alike() -> None:
    painting = features(CROSS)
    nearest = NearestFeatures({"one": painting, "other": painting})
    found = nearest.distance({"one": painting, "other": features(DIAGONAL)}).item()
    assert nearest.layers == {"one", "other"}
    assert found == pytest.approx((1 - math.sqrt(0.5)) / 2)


def test_features_of_one_colour_have_a_distance_and_a_gradient() -> None:
    painting = noise(1, 5, 8, 8)
    plain = painting.mean((2, 3), keepdim=True).expand(2, 5, 8, 8).clone().requires_grad_()
    found = NearestFeatures({"layer": painting}).distance({"layer": plain})
    found.backward()
    assert found.item() == pytest.approx(1)
    assert plain.grad is not None
    assert plain.grad.isfinite().all()


def test_large_painting_is_known_by_places_from_all_over_it() -> None:
    """It changes from left to right and from top to bottom; 4 times as many places as are kept."""
    rows, columns = torch.linspace(-1, 1, 64)[:, None], torch.linspace(-1, 1, 4 * MOST // 64)
    painting = torch.stack(torch.broadcast_tensors(rows, columns, torch.tensor(0.5)))[None]
    assert distance(painting, painting) < 0.002


def test_learning_moves_places_to_their_nearest() -> None:
    painting, images = features(CROSS), (features(DIAGONAL) + noise(1, 2, 1, 4) / 10).requires_grad_()
    nearest = NearestFeatures({"layer": painting})
    learner = torch.optim.Adam([images], lr=0.05)
    for _ in range(40):
        learner.zero_grad()
        nearest.distance({"layer": images}).backward()
        learner.step()
    assert nearest.distance({"layer": images}).item() < 0.02


def test_its_weight_is_that_of_the_options_and_rises_with_that_of_the_style(tmp_path: Path) -> None:
    costs = []
    for weight, step in ((0.0, 0), (10.0, 0), (10.0, 9), (20.0, 9)):
        options = {"steps": 10, "style_ramp": 0.5, "neighbour_weight": weight}
        task = build(style_config(tmp_path, image_size=32, **options), Hardware.of("cpu", "fp32"))
        with torch.no_grad():
            terms = task.losses(task.inputs(task.photographs.batch(0), step))
        costs.append(terms.get("neighbours", torch.zeros(())).item())
    assert costs[0] == 0
    assert costs[1] > 0
    assert costs[2] == pytest.approx(6 * costs[1], rel=0.05)
    assert costs[3] == pytest.approx(2 * costs[2])
