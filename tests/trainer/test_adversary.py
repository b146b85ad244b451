import copy
import math
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.trainer.samples import loss_network_file, upscale_config
from trainer.adversary import Discriminator, adversary_loss, discriminator_loss, relativistic_loss
from trainer.config import SuperResolutionConfig
from trainer.enlargement_objective import EnlargementObjective
from trainer.hardware import Hardware
from trainer.learner import Learner
from trainer.task import build


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def adversary_config(folder: Path, **options: Any) -> SuperResolutionConfig:
    return upscale_config(folder, loss_network=str(loss_network_file(folder / "loss.safetensors")), **options)


def with_gradients(module: nn.Module) -> int:
    return sum(parameter.grad is not None for parameter in module.parameters())


def features_of(images: Tensor) -> dict[str, Tensor]:
    """Two layers: the images, and a quarter of their pixels with twice the channels, three times as large."""
    small = F.avg_pool2d(images, 2)
    return {"first": images, "second": torch.cat([3 * small, -3 * small], dim=1)}


def test_each_place_of_each_layer_is_judged_with_its_neighbours() -> None:
    images = torch.rand(1, 3, 16, 16)
    discriminator = Discriminator(features_of(images))
    assert [*discriminator.judges] == ["first", "second"]
    first = images.clone().requires_grad_()
    verdicts = discriminator(features_of(first))
    assert [tuple(each.shape) for each in verdicts] == [(1, 1, 16, 16), (1, 1, 8, 8)]
    (gradient,) = torch.autograd.grad(verdicts[0][0, 0, 7, 9], first)
    rows, columns = gradient[0].abs().sum(dim=0).nonzero().unbind(dim=1)
    assert [int(each) for each in (rows.min(), rows.max(), columns.min(), columns.max())] == [6, 8, 8, 10]


def test_features_are_judged_by_their_share_of_the_usual_ones() -> None:
    images = torch.rand(2, 3, 16, 16)
    torch.manual_seed(1)
    usual = Discriminator(features_of(images))
    torch.manual_seed(1)
    larger = Discriminator(features_of(50 * images))
    for one, other in zip(usual(features_of(images)), larger(features_of(50 * images)), strict=True):
        torch.testing.assert_close(one, other)
    assert Discriminator({"dark": torch.zeros(1, 2, 4, 4)})({"dark": torch.zeros(1, 2, 4, 4)})[0].isfinite().all()


def test_the_loss_is_small_where_the_higher_verdicts_are_above_the_mean_of_the_lower_ones() -> None:
    high, low = torch.tensor([3.0, 5.0]), torch.tensor([-4.0, 0.0])
    assert relativistic_loss(high, high).item() > math.log(2)
    assert relativistic_loss(high[:1], high[:1]).item() == pytest.approx(math.log(2))
    assert relativistic_loss(high, low) < 0.02 < 4 < relativistic_loss(low, high)
    ones, zeros = torch.ones(2), torch.zeros(2)
    expected = F.binary_cross_entropy_with_logits(high - low.mean(), ones)
    expected += F.binary_cross_entropy_with_logits(low - high.mean(), zeros)
    assert relativistic_loss(high, low).item() == pytest.approx(expected.item() / 2, rel=1e-4)


def test_each_loss_has_gradients_for_one_of_the_two() -> None:
    enlarged, wanted = torch.rand(2, 3, 32, 32, requires_grad=True), torch.rand(2, 3, 32, 32)
    discriminator = Discriminator(features_of(wanted))
    adversary_loss(discriminator, features_of(enlarged), features_of(wanted)).backward()
    assert enlarged.grad is not None
    assert enlarged.grad.abs().sum() > 0
    assert with_gradients(discriminator) == 0
    enlarged.grad = None
    discriminator_loss(discriminator, features_of(enlarged), features_of(wanted)).backward()
    assert enlarged.grad is None
    assert with_gradients(discriminator) == len([*discriminator.parameters()])


def test_what_the_discriminator_learned_pulls_towards_the_wanted_images() -> None:
    discriminator = Discriminator(features_of(torch.rand(4, 3, 32, 32)))
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        wanted = torch.rand(4, 3, 32, 32)
        loss = discriminator_loss(discriminator, features_of(blurred(wanted)), features_of(wanted))
        loss.backward()
        optimizer.step()
    assert loss < 0.3
    wanted = torch.rand(4, 3, 32, 32)
    between = [blurred(wanted).lerp(wanted, share) for share in (0.0, 0.5, 1.0)]
    losses = [adversary_loss(discriminator, features_of(each), features_of(wanted)).item() for each in between]
    assert losses == sorted(losses, reverse=True)


def blurred(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 3, 1, 1)


def test_the_weight_rises_while_the_discriminator_learns_from_the_first_step(tmp_path: Path) -> None:
    config = adversary_config(tmp_path, adversary_weight=2.0, adversary_ramp=0.5, steps=18)
    task = build(config, Hardware.of("cpu", "fp32"))
    batch = task.photographs.batch(0)
    weights = [task.inputs(batch, step).tensors["adversary_weight"].item() for step in (0, 5, 10, 17)]
    assert weights == pytest.approx([0, 1, 2, 2])
    first = task.losses(task.inputs(batch, 0))
    assert set(first) == {"pixel", "adversary", "discriminator"}
    assert first["adversary"] == 0
    first["discriminator"].backward()
    assert task.discriminator is not None
    assert with_gradients(task.discriminator) == len([*task.discriminator.parameters()])
    assert with_gradients(task.network) == 0


def test_there_is_no_discriminator_without_a_weight(tmp_path: Path) -> None:
    config = adversary_config(tmp_path, adversary_weight=0.0)
    assert EnlargementObjective(config, Hardware.of("cpu", "fp32")).discriminator is None


def test_a_learner_restores_the_discriminator_and_its_moments(tmp_path: Path) -> None:
    config = adversary_config(tmp_path, adversary_weight=0.1, adversary_ramp=0.0, precision="fp32", steps=4)
    one, other = (Learner(build(config, Hardware.of("cpu", "fp32")), config) for _ in range(2))
    batches = [build(config, Hardware.of("cpu", "fp32")).photographs.batch(step) for step in range(4)]
    for step in (1, 2):
        one.step(batches[step - 1], step)
    assert other.restore(copy.deepcopy(one.state(2))) == 2
    for learner, step in chain.from_iterable(((one, step), (other, step)) for step in (3, 4)):
        learner.step(batches[step - 1], step)
    found, expected = (learner.state(4) for learner in (one, other))
    for part in ("network", "average", "discriminator"):
        assert all(torch.equal(found[part][name], value) for name, value in expected[part].items())


def test_the_discriminator_changes_what_the_network_learns_and_is_not_published(tmp_path: Path) -> None:
    states = []
    for weight in (0.0, 1.0):
        config = adversary_config(tmp_path, adversary_weight=weight, adversary_ramp=0.0, precision="fp32", steps=3)
        task = build(config, Hardware.of("cpu", "fp32"))
        learner = Learner(task, config)
        for step in range(3):
            learner.step(task.photographs.batch(step), step + 1)
        states.append(learner.state(3))
    without, beside = states
    assert "discriminator" not in without
    assert without["network"].keys() == beside["network"].keys()
    assert any(not torch.equal(beside["network"][name], value) for name, value in without["network"].items())
