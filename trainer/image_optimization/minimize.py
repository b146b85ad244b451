"""Minimises an objective of one image, iteration by iteration, as a run that can be resumed."""

import csv
import io
import json
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from tqdm import tqdm

from trainer.config import Device, Threads
from trainer.errors import Interrupted
from trainer.hardware import Hardware
from trainer.image_optimization.optimizers import (
    MEMORY,
    ClippedLBFGS,
    Objective,
    Optimizer,
    Point,
    ProjectedAdam,
    ProjectedLBFGS,
)
from trainer.interruption import interruption
from trainer.run_folder import Run, png

STATE_KEY = "minimiser"
"""The optimizer's entry in state.pt; the name is part of the format of saved runs."""

Method = Literal["lbfgs", "clipped-lbfgs", "adam"]


class OptimizationConfig(BaseModel):
    """The options of minimising an objective of one image, shared by all commands that do."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method = Field(
        "lbfgs",
        description="lbfgs: projected, with a line search, it lowers the objective in every iteration; clipped-lbfgs: "
        "the paper's, full steps that are clipped; adam: clipped",
    )
    steps: int = Field(500, ge=1, description="iterations; one of lbfgs takes a little more than one evaluation")
    memory: int = Field(MEMORY, ge=1, description="differences that L-BFGS keeps")
    learning_rate: float = Field(0.02, gt=0, description="Adam's")
    save_every: int = Field(50, ge=1, description="iterations between saved states")
    seed: int = Field(0, ge=0, lt=2**64, description="of the noise")
    loss_network: str = Field(
        "torchvision", description="torchvision (VGG-16, downloaded), random, or a safetensors file"
    )
    loss_layout: str = Field(
        "auto", description="vgg16, vgg11, vgg19-distilled or squeezenet1_1; auto recognises the file"
    )
    device: Device = "auto"
    threads: Threads = 0

    @property
    def optimization(self) -> "OptimizationConfig":
        """These options alone, without those of a subclass."""
        return OptimizationConfig.model_validate(self.model_dump(include=set(OptimizationConfig.model_fields)))

    def fp32_hardware(self) -> Hardware:
        """The device in fp32, with TF32 switched off and cuDNN deterministic in this process.

        A line search compares values of the objective that differ by less than TF32's rounding.
        """
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        return Hardware.of(self.device, "fp32", self.threads)

    def optimizer(self, objective: Objective, image: Tensor) -> Optimizer:
        """An optimizer of this method that begins at `image`, RGB (1, 3, H, W) in [0, 1]."""
        match self.method:
            case "lbfgs":
                return ProjectedLBFGS(objective, image, self.memory)
            case "clipped-lbfgs":
                return ClippedLBFGS(objective, image, self.memory)
            case "adam":
                return ProjectedAdam(objective, image, self.learning_rate)


def minimize(
    config: OptimizationConfig,
    objective: Objective,
    begin: Tensor,
    run: Run,
    fingerprint: str,
    *,
    resume: bool,
    name: str = "",
) -> Point:
    """Minimise an objective for `config.steps` iterations, or until the method can do no better.

    Writes the image (result.png) and the objective by iteration (objective.csv) into the run's folder. Saves the state
    every `config.save_every` iterations, and after a first Ctrl-C or SIGTERM, between two iterations; then Interrupted
    is raised. On a CPU a resumed run gives the same bits as an uninterrupted one; on a GPU, where sums have no fixed
    order, nearly. `name` labels the progress bar. Raises RunError as `Run.begin`, and where another run in the folder
    is under way.
    """
    with run.exclusive():
        saved = run.begin(config, fingerprint, resume=resume)
        optimizer = config.optimizer(objective, begin)
        first = _restore(optimizer, saved) if saved else 0
        if not saved:
            _log(run, 0, optimizer)
        _iterate(config, optimizer, first, run, fingerprint, name)
        run.write("result.png", png(optimizer.point.image[0]))
        run.write("objective.csv", _csv(run).encode())
        return optimizer.point


def _iterate(
    config: OptimizationConfig, optimizer: Optimizer, first: int, run: Run, fingerprint: str, name: str
) -> None:
    """The iterations after the first ones, which are done."""
    bar = tqdm(range(first + 1, config.steps + 1), name, initial=first, total=config.steps, unit="iteration")
    with interruption() as stop_requested:
        for step in bar:
            if not optimizer.step():
                break
            _log(run, step, optimizer)
            bar.set_postfix(objective=f"{optimizer.point.value:.5g}", evaluations=optimizer.evaluations)
            stopping = stop_requested.is_set()
            if step % config.save_every == 0 or step == config.steps or stopping:
                run.save({"step": step, STATE_KEY: optimizer.state(), "fingerprint": fingerprint})
            if stopping:
                raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on from there")


def _restore(optimizer: Optimizer, saved: dict[str, Any]) -> int:
    """Go on from a saved state; returns its iteration."""
    optimizer.restore(saved[STATE_KEY])
    return int(saved["step"])


def _log(run: Run, step: int, optimizer: Optimizer) -> None:
    point = optimizer.point
    run.log(step, {"evaluations": optimizer.evaluations, "objective": point.value, **point.terms})


def _csv(run: Run) -> str:
    """metrics.jsonl as CSV: step, evaluations, objective and its terms, a row for each iteration."""
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
