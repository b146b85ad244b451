from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch

from tests.trainer.samples import run_training, style_config
from trainer import learner
from trainer.config import StyleConfig
from trainer.errors import OutOfMemory
from trainer.hardware import Hardware
from trainer.run_folder import Run
from trainer.step_inputs import StepInputs
from trainer.task import Task, build
from trainer.training_loop import train

Losses = dict[str, torch.Tensor]


class Exhausting(torch.autograd.Function):
    """A loss whose gradient wants more memory than there is."""

    @staticmethod
    def forward(_: object, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(_: object, *__: torch.Tensor) -> torch.Tensor:
        return torch.empty(2**50)


def in_forward(terms: Losses) -> Losses:
    return terms | {"content": torch.empty(2**50)}


def in_backward(terms: Losses) -> Losses:
    return terms | {"content": Exhausting.apply(terms["content"])}


def in_python(_: Losses) -> Losses:
    raise MemoryError


def failing_task(
    config: StyleConfig, monkeypatch: pytest.MonkeyPatch, fail: Callable[[Losses], Losses], call: int = 4
) -> Task:
    """A task whose losses fail at a call, counted from 0, once they and the statistics of the batch are computed."""
    task = build(config, Hardware.of("cpu", "fp32"))
    losses, calls = task.losses, count()

    def exhausted(inputs: StepInputs) -> Losses:
        terms = losses(inputs)
        return fail(terms) if next(calls) == call else terms

    monkeypatch.setattr(task, "losses", exhausted)
    return task


@pytest.mark.parametrize("norm", ["batch", "thumbnail"])
@pytest.mark.parametrize("fail", [in_forward, in_backward, in_python])
def test_a_run_without_memory_for_a_step_goes_on_exactly_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[Losses], Losses], norm: str
) -> None:
    options = {"precision": "fp32", "norm": norm, "thumbnail": 24}
    config = style_config(tmp_path, save_every=100, **options)
    told = r"not enough memory any more( \(.+\))?; stopped after step 4: the same command with --resume .* --accumul"
    with pytest.raises(OutOfMemory, match=told):
        train(failing_task(config, monkeypatch, fail), config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 4
    whole = run_training(style_config(tmp_path / "whole", **options))
    resumed = run_training(config, resume=True)
    assert all(torch.equal(whole.state_dict()[key], value) for key, value in resumed.state_dict().items())
    states = [Run(tmp_path / name).load()["network"] for name in ("run", "whole/run")]
    assert all(torch.equal(states[1][key], value) for key, value in states[0].items())


def test_a_first_step_without_memory_saves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path)
    with pytest.raises(MemoryError):
        train(failing_task(config, monkeypatch, in_python, call=0), config, Run(config.folder))
    assert not Run(config.folder).state_file.exists()


def test_a_run_without_memory_for_photographs_saves_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path, save_every=100)
    task = build(config, Hardware.of("cpu", "fp32"))
    batch = task.photographs.batch

    def exhausted(step: int, places: range | None = None) -> torch.Tensor:
        return torch.empty(2**50) if step == 4 else batch(step, places)

    monkeypatch.setattr(task.photographs, "batch", exhausted)
    with pytest.raises(OutOfMemory, match="stopped after step 4: the same command with --resume"):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 4


def test_a_state_that_cannot_be_saved_does_not_hide_the_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = style_config(tmp_path, save_every=100)
    run = Run(config.folder)

    def fail(terms: Losses) -> Losses:
        run.state_file.mkdir()
        return in_forward(terms)

    told = (
        r"not enough memory any more \(.+\); the state after step 4 could not be saved: .*state\.pt cannot be written"
    )
    with pytest.raises(OutOfMemory, match=told):
        train(failing_task(config, monkeypatch, fail), config, run)


def test_a_state_within_a_step_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path, save_every=3)
    task, update, calls = build(config, Hardware.of("cpu", "fp32")), learner.update_average, count()

    def exhausted(average: torch.nn.Module, network: torch.nn.Module, share: torch.Tensor) -> None:
        if next(calls) == 4:
            raise MemoryError
        update(average, network, share)

    monkeypatch.setattr(learner, "update_average", exhausted)
    told = (
        "state after step 4 could not be saved: step 5 has changed weights already; the same command with --resume goes"
    )
    with pytest.raises(OutOfMemory, match=told):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 3
