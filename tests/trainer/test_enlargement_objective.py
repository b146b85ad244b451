import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.samples import loss_network_file, upscale_config
from trainer.config import SuperResolutionConfig
from trainer.hardware import Hardware
from trainer.learner import Learner
from trainer.super_resolution import SuperResolutionTask
from trainer.task import build


def adversarial(folder: Path, **options: Any) -> SuperResolutionConfig:
    network = str(loss_network_file(folder / "loss.safetensors"))
    fields = {"loss_network": network, "adversarial_weight": 0.5, "image_size": 48, "precision": "fp32"}
    return upscale_config(folder, **fields | options)


def task_of(config: SuperResolutionConfig) -> SuperResolutionTask:
    task = build(config, Hardware.of("cpu", "fp32"))
    assert isinstance(task, SuperResolutionTask)
    return task


def test_the_discriminator_has_a_term_that_the_network_does_not_feel(tmp_path: Path) -> None:
    task = task_of(adversarial(tmp_path))
    assert task.discriminator is not None
    terms = task.losses(task.inputs(task.photographs.batch(0), 0))
    assert set(terms) == {"pixel", "adversarial", "discriminator"}
    terms["discriminator"].backward(retain_graph=True)
    assert all(weight.grad is None for weight in task.network.parameters())
    felt = [weight.grad.clone() for weight in task.discriminator.parameters() if weight.grad is not None]
    assert len(felt) == len([*task.discriminator.parameters()])
    terms["adversarial"].backward()
    assert all(weight.grad is not None for weight in task.network.parameters())
    again = [weight.grad for weight in task.discriminator.parameters() if weight.grad is not None]
    assert all(torch.equal(one, other) for one, other in zip(felt, again, strict=True))


def test_the_adversarial_term_has_its_weight_and_needs_no_other_term(tmp_path: Path) -> None:
    single, double = (task_of(adversarial(tmp_path, adversarial_weight=weight)) for weight in (0.5, 1.0))
    batch = single.photographs.batch(0)
    terms, twice = (task.losses(task.inputs(batch, 0)) for task in (single, double))
    assert twice["adversarial"].item() == pytest.approx(2 * terms["adversarial"].item())
    assert twice["discriminator"].item() == pytest.approx(terms["discriminator"].item())


def test_both_networks_learn_and_a_resumed_run_goes_on_with_both(tmp_path: Path) -> None:
    config = adversarial(tmp_path)
    one, other = (Learner(task_of(config), config) for _ in range(2))
    before = copy.deepcopy(one.state_of_networks())
    batches = list(task_of(config).photographs.batches(0, 2))
    one.step(batches[0], 1)
    changed = one.state_of_networks()
    assert all(
        any(not torch.equal(changed[part][name], value) for name, value in before[part].items() if "weight" in name)
        for part in ("network", "discriminator")
    )
    assert other.restore(copy.deepcopy(one.state(1))) == 1
    for learner in (one, other):
        learner.step(batches[1], 2)
    first, second = one.state_of_networks(), other.state_of_networks()
    assert all(torch.equal(first[part][name], second[part][name]) for part in first for name in first[part])


def test_without_a_weight_there_is_no_discriminator(tmp_path: Path) -> None:
    assert task_of(adversarial(tmp_path, adversarial_weight=0.0)).discriminator is None
