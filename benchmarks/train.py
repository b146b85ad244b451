"""`train`: images per second of the trainer's loop, on a CPU beside a plain PyTorch loop, on a GPU by its launches."""

import json
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from benchmarks import limits, photos, training_steps
from benchmarks.report import Row, Tables
from benchmarks.stats import median
from model_store.allocator import configure_allocator
from trainer.config import Precision, StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.data import read_image
from trainer.hardware import Hardware
from trainer.run_folder import Run
from trainer.task import Task, build
from trainer.training_loop import train

PHOTOS = 24

WIDTHS = (16, 32, 64, 128, 128)
"""Channels of the distilled VGG-19's five blocks (Wang et al. 2020)."""

CONVOLUTIONS = (2, 2, 4, 4, 1)


@dataclass(frozen=True)
class Loop:
    """A training loop, in a process with the allocator settings of the trainer or with glibc's own."""

    name: str
    run: Callable[[TrainConfig], float]
    """Trains for the steps of a configuration. Returns the seconds that they took."""
    precision: Precision
    allocator_settings: bool


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--steps", type=int, default=12, help="of each loop in each round")
    parser.add_argument("--rounds", type=int, default=5, help="on a GPU, all their steps are timed together")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")


def run(chosen: Namespace) -> Tables:
    """Measure each task: all loops with the same photographs, network, losses and batch."""
    steps, rounds = (3, 1) if chosen.quick else (chosen.steps, chosen.rounds)
    if chosen.device == "cuda" or (chosen.device == "auto" and torch.cuda.is_available()):
        return _gpu_tables(steps * rounds)
    found = limits.peaks(2 if chosen.quick else limits.REPETITIONS)
    peaks = {str(row["precision"]): float(row["peak GFLOP/s"] or 0) for row in found}
    with tempfile.TemporaryDirectory() as folder:
        configs = dict(_configs(Path(folder), steps))
        return {name: list(_rows(config, rounds, peaks)) for name, config in configs.items()}


def _gpu_tables(steps: int) -> Tables:
    with tempfile.TemporaryDirectory() as folder:
        content, painting = _pictures(Path(folder))
        configs = dict(training_steps.configs(content, painting, Path(folder, "models")))
        return {name: list(training_steps.rows(config, steps)) for name, config in configs.items()}


def _pictures(folder: Path) -> tuple[Path, Path]:
    """Write photographs and a painting; returns the folder of the ones and the file of the other."""
    content, painting = folder / "photos", folder / "painting.jpg"
    content.mkdir()
    for seed in range(PHOTOS):
        (content / f"{seed}.jpg").write_bytes(photos.jpeg(photos.photo(480, 360, seed)))
    painting.write_bytes(photos.jpeg(photos.photo(512, 384, PHOTOS)))
    return content, painting


def _configs(folder: Path, steps: int) -> Iterator[tuple[str, TrainConfig]]:
    content, painting = _pictures(folder)
    common = {"content": content, "store": folder / "models", "device": "cpu", "steps": steps, "log_every": steps}
    yield (
        "style, four crops of 160² for a network of half the paper's width",
        StyleConfig.model_validate(
            common
            | {
                "name": "style",
                "style_image": painting,
                "loss_network": str(loss_network_file(folder / "loss.safetensors")),
                "architecture": training_steps.HALF,
                "norm": "instance",
                "zoom": 1.0,
                "image_size": 160,
            }
        ),
    )
    yield "×4, sixteen crops of 192²", SuperResolutionConfig.model_validate(common | {"name": "x4"})


def loss_network_file(path: Path) -> Path:
    """Write random weights in the shapes of the distilled VGG-19. Returns `path`."""
    weights = {"conv0.weight": torch.eye(3)[..., None, None], "conv0.bias": torch.zeros(3)}
    channels = 3
    for block, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS, strict=True), start=1):
        for layer in range(1, count + 1):
            weights[f"conv{block}{layer}.weight"] = torch.randn(width, channels, 3, 3) / (3 * channels**0.5)
            weights[f"conv{block}{layer}.bias"] = torch.zeros(width)
            channels = width
    save_file(weights, path)
    return path


def _rows(config: TrainConfig, rounds: int, peaks: dict[str, float]) -> Iterator[Row]:
    times = _measure(config, rounds)
    seconds = {loop: median(found) / config.steps for loop, found in times.items()}
    work = _flops(config)
    for loop, taken in seconds.items():
        peak = peaks[str(Hardware.of("cpu", loop.precision).precision).removeprefix("torch.")] * 1e9
        yield {
            "loop": loop.name,
            "allocator": "the trainer's" if loop.allocator_settings else "glibc's",
            "images/s": config.batch / taken,
            "×": seconds[BASELINE] / taken,
            "GFLOP/s": work / taken / 1e9,
            "share of peak": work / taken / peak,
        }


def _measure(config: TrainConfig, rounds: int) -> dict[Loop, list[float]]:
    """Seconds of each turn of each loop, without its first. Every loop has its own process; they run in turn."""
    times: dict[Loop, list[float]] = {loop: [] for loop in LOOPS}
    with ExitStack() as stack:
        processes = {loop: stack.enter_context(_start_process(loop)) for loop in LOOPS}
        for _ in range(rounds + 1):
            for loop, process in processes.items():
                times[loop].append(process.submit(loop.run, config).result())
    return {loop: found[1:] for loop, found in times.items()}


def _start_process(loop: Loop) -> ProcessPoolExecutor:
    begin = configure_allocator if loop.allocator_settings else None
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=begin)


def _run_trainer(config: TrainConfig) -> float:
    """The trainer's loop. The time is the one that it logs, without the final preview and state."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        train(_build_task(config, "auto"), config, run)
        logged = json.loads(run.metrics_file.read_text().splitlines()[-1])
    return config.batch * config.steps / float(logged["images_per_second"])


def _run_plain_loop(config: TrainConfig) -> float:
    """A plain PyTorch loop: photographs decoded for each batch by a DataLoader, contiguous fp32, Adam."""
    task = _build_task(config, "fp32")
    task.network.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(task.network.parameters(), lr=config.learning_rate)
    crops = DataLoader(_PhotoCrops(config), batch_size=config.batch)
    began = time.perf_counter()
    for step, batch in zip(range(config.steps), crops, strict=False):
        loss = torch.stack(list(task.losses(task.inputs(batch, step)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def _build_task(config: TrainConfig, precision: Precision) -> Task:
    return build(config, Hardware.of("cpu", precision))


BASELINE = Loop("fp32, decoded by a DataLoader", _run_plain_loop, "fp32", allocator_settings=False)

LOOPS = (
    Loop("the trainer", _run_trainer, "auto", allocator_settings=True),
    Loop("the trainer", _run_trainer, "auto", allocator_settings=False),
    BASELINE,
)


class _PhotoCrops(Dataset[Tensor]):
    """The photographs in turn, decoded and cropped again each time."""

    def __init__(self, config: TrainConfig) -> None:
        self._files = sorted(config.content.iterdir())
        side = config.image_size  # type: ignore[attr-defined]
        self._crop = v2.Compose([v2.RandomCrop(side), v2.RandomHorizontalFlip(), v2.PILToTensor()])
        self._count = config.batch * config.steps

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:
        image = read_image(self._files[index % len(self._files)]).convert("RGB")
        crop: Tensor = self._crop(image)
        return crop


def _flops(config: TrainConfig) -> int:
    """Floating-point operations of one training step."""
    task = _build_task(config, "fp32")
    batch = task.photographs.batch(0)
    with FlopCounterMode(display=False) as counter:
        torch.stack(list(task.losses(task.inputs(batch, 0)).values())).sum().backward()
    return int(counter.get_total_flops())
