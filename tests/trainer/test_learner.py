import copy
from pathlib import Path

import pytest
import torch

from tests.trainer.samples import style_config, upscale_config
from trainer.errors import TrainingDiverged
from trainer.hardware import Hardware
from trainer.learner import Learner, learning_rate, means, update_average
from trainer.task import build


def test_the_average_follows_the_weights_slowly(tmp_path: Path) -> None:
    network = torch.nn.BatchNorm2d(2)
    average = torch.nn.BatchNorm2d(2)
    network.weight.data.fill_(3.0)
    network.running_mean = torch.tensor([10.0, 20.0])
    network.num_batches_tracked = torch.tensor(7)
    update_average(average, network, torch.tensor(0.25))
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [2.5, 5.0]
    assert average.num_batches_tracked is not None
    assert average.num_batches_tracked.item() == 7


def test_learning_rate_schedules(tmp_path: Path) -> None:
    constant = upscale_config(tmp_path, schedule="constant", warmup=4, steps=100)
    assert [learning_rate(constant, step) / constant.learning_rate for step in (0, 1, 4, 99)] == [0.2, 0.4, 1, 1]
    cosine = upscale_config(tmp_path, warmup=0, steps=100)
    rates = [learning_rate(cosine, step) for step in range(101)]
    assert rates[0] == cosine.learning_rate
    assert rates[50] == pytest.approx(cosine.learning_rate / 2)
    assert rates == sorted(rates, reverse=True)
    assert rates[100] == pytest.approx(0)


def test_means_are_those_of_all_steps_and_finite() -> None:
    steps = [{"content": torch.tensor(value)} for value in (1.0, 3.0)]
    assert means(steps, step=2) == {"content": 2.0}
    with pytest.raises(TrainingDiverged, match="step 7"):
        means([*steps, {"content": torch.tensor(float("inf"))}], step=7)


def test_restored_learner_takes_the_same_step(tmp_path: Path) -> None:
    config = style_config(tmp_path, precision="fp32")
    one, other = (Learner(build(config, Hardware.of("cpu", "fp32")), config) for _ in range(2))
    batches = list(build(config, Hardware.of("cpu", "fp32")).photographs.batches(0, 2))
    one.step(batches[0], 1)
    assert other.restore(copy.deepcopy(one.state(1))) == 1
    for learner in (one, other):
        learner.step(batches[1], 2)
    first, second = one.average.state_dict(), other.average.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one.images_per_second() > 0
