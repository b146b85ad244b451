import math
from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from trainer.image_optimization.optimizers import ClippedLBFGS, Optimizer, ProjectedAdam, ProjectedLBFGS


def bowl(image: Tensor) -> Mapping[str, Tensor]:
    """A convex quadratic with curvatures from 1 to 1000 and its minimum partly outside [0, 1]."""
    curvature = torch.logspace(0, 3, image.numel()).reshape(image.shape)
    centre = torch.linspace(-0.5, 1.5, image.numel()).reshape(image.shape)
    return {"bowl": (curvature * (image - centre) ** 2).sum()}


def valley(image: Tensor) -> Mapping[str, Tensor]:
    """Rosenbrock's function of neighbouring values, with the minimum 0 where all are 1/2."""
    x = 2 * image.flatten()
    return {"valley": 100 * (x[1:] - x[:-1] ** 2).square().sum(), "floor": (1 - x[:-1]).square().sum()}


def start() -> Tensor:
    return torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def values(optimizer: Optimizer, steps: int) -> list[float]:
    found = [optimizer.point.value]
    for _ in range(steps):
        if not optimizer.step():
            break
        found.append(optimizer.point.value)
    return found


@pytest.mark.parametrize("objective", [bowl, valley])
def test_projected_lbfgs_lowers_the_objective_in_every_iteration(objective: object) -> None:
    optimizer = ProjectedLBFGS(objective, start())  # type: ignore[arg-type]
    found = values(optimizer, 60)
    assert len(found) > 20
    assert all(later < earlier for earlier, later in pairwise(found))
    assert optimizer.point.image.min() >= 0
    assert optimizer.point.image.max() <= 1


def test_projected_lbfgs_finds_the_minimum_of_the_box() -> None:
    optimizer = ProjectedLBFGS(bowl, start().double())
    values(optimizer, 100)
    best = torch.linspace(-0.5, 1.5, 48).clamp(0, 1).reshape(1, 3, 4, 4).double()
    assert torch.allclose(optimizer.point.image, best, atol=1e-5)


def test_projected_lbfgs_follows_a_curved_valley_in_few_evaluations() -> None:
    optimizer = ProjectedLBFGS(valley, start())
    found = values(optimizer, 60)
    assert found[-1] < 1e-6
    assert optimizer.evaluations < 2 * len(found)


def test_at_a_minimum_no_step_is_made() -> None:
    optimizer = ProjectedLBFGS(valley, torch.full((1, 3, 4, 4), 0.5))
    assert not optimizer.step()
    assert torch.equal(optimizer.point.image, torch.full((1, 3, 4, 4), 0.5))


def test_points_where_the_objective_is_nan_are_never_taken() -> None:
    def cliff(image: Tensor) -> Mapping[str, Tensor]:
        return {"root": image.sub(0.2).sqrt().sum()}  # NaN below 0.2

    optimizer = ProjectedLBFGS(cliff, torch.full((1, 3, 4, 4), 0.9))
    found = values(optimizer, 10)
    assert len(found) > 1
    assert all(math.isfinite(value) for value in found)


def test_lbfgs_as_the_paper_has_it_takes_one_evaluation_an_iteration() -> None:
    optimizer = ClippedLBFGS(bowl, start())
    found = values(optimizer, 30)
    assert optimizer.evaluations == 31
    assert min(found) < 0.5 * found[0]
    assert optimizer.point.image.min() >= 0
    assert optimizer.point.image.max() <= 1


def test_clipping_after_the_step_may_raise_the_objective() -> None:
    found = values(ClippedLBFGS(valley, start()), 60)
    assert any(later > earlier for earlier, later in pairwise(found))


def test_projected_adam_stays_in_the_box() -> None:
    optimizer = ProjectedAdam(bowl, start(), 0.05)
    found = values(optimizer, 60)
    assert found[-1] < 0.5 * found[0]
    assert optimizer.evaluations == 61
    assert optimizer.point.image.min() >= 0
    assert optimizer.point.image.max() <= 1


@pytest.mark.parametrize("kind", ["lbfgs", "clipped", "adam"])
def test_a_restored_optimizer_goes_on_exactly(kind: str) -> None:
    def fresh() -> Optimizer:
        match kind:
            case "lbfgs":
                return ProjectedLBFGS(valley, start(), memory=3)
            case "clipped":
                return ClippedLBFGS(valley, start(), memory=3)
        return ProjectedAdam(valley, start(), 0.02)

    whole, first, second = fresh(), fresh(), fresh()
    values(whole, 12)
    values(first, 5)
    second.restore(first.state())
    values(second, 7)
    assert torch.equal(second.point.image, whole.point.image)
    assert second.point.terms == whole.point.terms
    assert second.evaluations == whole.evaluations


def test_the_first_image_is_not_changed() -> None:
    image = start()
    for optimizer in (ProjectedLBFGS(bowl, image), ClippedLBFGS(bowl, image), ProjectedAdam(bowl, image, 0.1)):
        values(optimizer, 2)
    assert torch.equal(image, start())
