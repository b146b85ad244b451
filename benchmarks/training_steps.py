"""Training steps on a device: crops per second, and where the time of a step goes, with and without CUDA graphs."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent, FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from benchmarks.report import Row
from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.hardware import Hardware
from trainer.learner import Learner
from trainer.step_graph import WARM_UP_STEPS, recorder_of
from trainer.task import build

BEFORE = WARM_UP_STEPS + 3
"""Steps that are not timed: the warm-up, that with which a graph is compared, and two with the graph."""

PROFILED = 5
"""Steps whose time on the device is taken."""

HALF = "c9s1-16,d32,d64,R64*5,u32,u16,c9s1-3"
"""The paper's style network with half its channels."""


@dataclass(frozen=True)
class Steps:
    """Seconds of some steps."""

    whole: float
    waiting: float
    """For photographs."""
    launching: float
    """The host's work for a step: it launches what the device computes."""


def configs(content: Path, painting: Path, store: Path) -> Iterator[tuple[str, TrainConfig]]:
    """What is trained on a GPU, with the default options and a VGG-16 of random weights."""
    common = {"content": content, "store": store, "device": "cuda", "loss_network": "random"}
    style = common | {"name": "style", "style_image": painting, "zoom": 1.0}
    for width, options in (("half the paper's width", {"architecture": HALF}), ("the paper's width", {})):
        for batch in (4, 16):
            title = f"style, {batch} crops of 256² for a network of {width}"
            yield title, StyleConfig.model_validate(style | options | {"batch": batch})
    yield "×4, 16 crops of 192²", SuperResolutionConfig.model_validate(common | {"name": "x4"})


def rows(config: TrainConfig, steps: int) -> Iterator[Row]:
    """A row for steps whose operations are launched one by one, and on a GPU one for CUDA graphs."""
    hardware = Hardware.of(config.device, config.precision)
    for graphs in (False, True) if hardware.device.type == "cuda" else (False,):
        yield _row(config.model_copy(update={"cuda_graphs": graphs}), hardware, steps)


def _row(config: TrainConfig, hardware: Hardware, steps: int) -> Row:
    task = build(config, hardware)
    recorder = recorder_of(task.network, hardware.device, wanted=config.cuda_graphs, processes=1)
    learner = Learner(task, config, recorder=recorder)
    batches = task.photographs.batches(0, BEFORE + steps + PROFILED)
    _run(learner, batches, range(BEFORE), hardware.device)
    found = _run(learner, batches, range(BEFORE, BEFORE + steps), hardware.device)
    computing = _device_seconds(learner, batches, range(BEFORE + steps, BEFORE + steps + PROFILED), hardware.device)
    return {
        "launched": _launched(learner, wanted=recorder is not None),
        "crops/s": config.batch * steps / found.whole,
        "ms": 1000 * found.whole / steps,
        "device ms": computing and 1000 * computing / PROFILED,
        "host ms": 1000 * found.launching / steps,
        "waiting for photographs ms": 1000 * found.waiting / steps,
    }


def _launched(learner: Learner, *, wanted: bool) -> str:
    """How the steps have been launched; graphs that are wanted are given up where they fail."""
    if learner.uses_graphs:
        return "as CUDA graphs"
    return "one by one: graphs failed" if wanted else "one by one"


def _run(learner: Learner, batches: Iterator[Tensor], steps: range, device: torch.device) -> Steps:
    """Take steps, until the device has nothing left to do."""
    waiting = launching = 0.0
    began = time.perf_counter()
    for step in steps:
        asked = time.perf_counter()
        batch = next(batches)
        given = time.perf_counter()
        learner.step(batch, step + 1)
        waiting, launching = waiting + given - asked, launching + time.perf_counter() - given
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Steps(time.perf_counter() - began, waiting, launching)


def _device_seconds(learner: Learner, batches: Iterator[Tensor], steps: range, device: torch.device) -> float | None:
    """The sum of the times of all kernels and copies of some steps; None on a CPU."""
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        _run(learner, batches, steps, device)
    return computing_seconds(found.key_averages())


def computing_seconds(events: Iterable[FunctionEvent | FunctionEventAvg]) -> float:
    """The sum of kernels and copies. Annotations, such as that of the optimizer's step, span what is summed already."""
    computed = (event for event in events if event.device_type.name == "CUDA" and not event.is_user_annotation)
    return sum(float(event.self_device_time_total) for event in computed) / 1e6
