import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.cpu_recorder import CpuRecorder
from tests.trainer.samples import loss_network_file, photographs, style_config, upscale_config
from trainer.config import TrainConfig
from trainer.hardware import Hardware
from trainer.learner import Learner
from trainer.run_folder import Run
from trainer.step_graph import WARM_UP_STEPS, GraphedSteps, Recorder, State, Values, recorder_of
from trainer.step_inputs import StepInputs
from trainer.task import build
from trainer.training_loop import train

CPU = torch.device("cpu")

LARGE = {"image_size": 72, "thumbnail": 72}

STYLES: dict[str, dict[str, Any]] = {
    "schedule": {"steps": 12, "warmup": 5, "style_ramp": 0.5, "norm": "thumbnail", "thumbnail": 16},
    "parts of large photographs": {"norm": "thumbnail", "thumbnail": 16, "zoom": 3.0, "zoom_from": 0.0},
    "batch normalisation in parts": {"norm": "batch", "batch": 4, "accumulate": 2},
    "instance normalisation": {"norm": "instance", "ema": 0.0, "clip": 0.0, "precision": "bf16"},
    "grid": LARGE,
    "all losses": {**LARGE, "stability_weight": 3.0, "flat_texture_weight": 10.0, "zoom": 2.0, "zoom_from": 0.0},
}


def trained(config: TrainConfig, recorder: Recorder | None, steps: int = WARM_UP_STEPS + 4) -> Learner:
    """A learner after some steps with few shapes, as on a GPU."""
    precision = torch.bfloat16 if config.precision == "bf16" else torch.float32
    task = build(config, Hardware(CPU, precision, fixed_shapes=True))
    learner = Learner(task, config, recorder=recorder)
    for step in range(steps):
        learner.step(task.photographs.batch(step), step + 1)
    return learner


def require_same(one: Learner, other: Learner, step: int) -> None:
    """All that a step changes is the same, to the bit, and so is what is saved of the optimiser."""
    found, expected = one.state(step), other.state(step)
    assert found["losses"] == expected["losses"]
    assert found["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]
    for part in ("network", "average"):
        assert all(torch.equal(found[part][name], value) for name, value in expected[part].items())
    for number, kept in expected["optimizer"]["state"].items():
        assert all(torch.equal(found["optimizer"]["state"][number][name], value) for name, value in kept.items())


@pytest.mark.parametrize("name", STYLES)
def test_a_recorded_style_step_is_the_usual_one_to_the_bit(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = style_config(tmp_path, **{"batch": 2, "precision": "fp32"} | STYLES[name])
    recorder = CpuRecorder()
    steps = 24 if "zoom" in STYLES[name] else WARM_UP_STEPS + 4
    require_same(trained(config, recorder, steps), trained(config, None, steps), steps)
    assert recorder.replayed > recorder.recorded >= 1
    assert not caplog.records


@pytest.mark.parametrize("perceptual_weight", [0.0, 2.0])
def test_a_recorded_super_resolution_step_is_the_usual_one_to_the_bit(
    tmp_path: Path, perceptual_weight: float, caplog: pytest.LogCaptureFixture
) -> None:
    config = upscale_config(
        tmp_path,
        content=photographs(tmp_path / "large", width=90, height=90),
        loss_network=str(loss_network_file(tmp_path / "loss.safetensors")),
        image_size=80,
        feature_weight=1.0,
        texture_weight=0.5,
        grid_weight=100.0,
        perceptual_weight=perceptual_weight,
        precision="fp32",
        blur=1.0,
    )
    recorder = CpuRecorder()
    steps = 60 if perceptual_weight else 7
    require_same(trained(config, recorder, steps), trained(config, None, steps), steps)
    assert recorder.replayed > 1
    assert not caplog.records
