import math
from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from trainer.minimisers import ClippedLBFGS, Minimiser, ProjectedAdam, ProjectedLBFGS


def bowl(image: Tensor) -> Mapping[str, Tensor]:
    """A convex quadratic of very different curvatures, whose minimum lies partly outside the box."""
    curvature = torch.logspace(0, 3, image.numel()).reshape(image.shape)
    centre = torch.linspace(-0.5, 1.5, image.numel()).reshape(image.shape)
    return {"bowl": (curvature * (image - centre) ** 2).sum()}


def valley(image: Tensor) -> Mapping[str, Tensor]:
    """Rosenbrock's function of neighbouring values, with the minimum 0 where all are 1/2."""
    x = 2 * image.flatten()
    return {"valley": 100 * (x[1:] - x[:-1] ** 2).square().sum(), "floor": (1 - x[:-1]).square().sum()}


def start() -> Tensor:
    return torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def values(minimiser: Minimiser, steps: int) -> list[float]:
    found = [minimiser.point.value]
    for _ in range(steps):
        if not minimiser.step():
            break
        found.append(minimiser.point.value)
    return found


@pytest.mark.parametrize("objective", [bowl, valley])
def test_projected_lbfgs_lowers_the_objective_in_every_iteration(objective: object) -> None:
    minimiser = ProjectedLBFGS(objective, start())  # type: ignore[arg-type]
    found = values(minimiser, 60)
    assert len(found) > 20
    assert all(later < earlier for earlier, later in pairwise(found))
    assert minimiser.point.image.min() >= 0
    assert minimiser.point.image.max() <= 1


def test_projected_lbfgs_finds_the_minimum_of_the_box() -> None:
    minimiser = ProjectedLBFGS(bowl, start().double())
    values(minimiser, 100)
    best = torch.linspace(-0.5, 1.5, 48).clamp(0, 1).reshape(1, 3, 4, 4).double()
    assert torch.allclose(minimiser.point.image, best, atol=1e-5)


def test_projected_lbfgs_follows_a_curved_valley_in_few_evaluations() -> None:
    minimiser = ProjectedLBFGS(valley, start())
    found = values(minimiser, 60)
    assert found[-1] < 1e-6
    assert minimiser.evaluations < 2 * len(found)


def test_a_minimum_is_noticed_and_left_alone() -> None:
    minimiser = ProjectedLBFGS(valley, torch.full((1, 3, 4, 4), 0.5))
    assert not minimiser.step()
    assert torch.equal(minimiser.point.image, torch.full((1, 3, 4, 4), 0.5))


def test_points_where_the_objective_is_no_number_are_never_taken() -> None:
    def cliff(image: Tensor) -> Mapping[str, Tensor]:
        return {"root": image.sub(0.2).sqrt().sum()}  # no number below 0.2

    minimiser = ProjectedLBFGS(cliff, torch.full((1, 3, 4, 4), 0.9))
    found = values(minimiser, 10)
    assert len(found) > 1
    assert all(math.isfinite(value) for value in found)


def test_lbfgs_as_the_paper_has_it_takes_one_evaluation_an_iteration() -> None:
    minimiser = ClippedLBFGS(bowl, start())
    found = values(minimiser, 30)
    assert minimiser.evaluations == 31
    assert min(found) < 0.5 * found[0]
    assert minimiser.point.image.min() >= 0
    assert minimiser.point.image.max() <= 1


def test_clipping_after_the_step_may_raise_the_objective() -> None:
    found = values(ClippedLBFGS(valley, start()), 60)
    assert any(later > earlier for earlier, later in pairwise(found))


def test_projected_adam_stays_in_the_box() -> None:
    minimiser = ProjectedAdam(bowl, start(), 0.05)
    found = values(minimiser, 60)
    assert found[-1] < 0.5 * found[0]
    assert minimiser.evaluations == 61
    assert minimiser.point.image.min() >= 0
    assert minimiser.point.image.max() <= 1


@pytest.mark.parametrize("kind", ["lbfgs", "clipped", "adam"])
def test_a_restored_minimiser_goes_on_exactly(kind: str) -> None:
    def fresh() -> Minimiser:
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
    for minimiser in (ProjectedLBFGS(bowl, image), ClippedLBFGS(bowl, image), ProjectedAdam(bowl, image, 0.1)):
        values(minimiser, 2)
    assert torch.equal(image, start())
