"""`normalisation`: style networks with each normalisation, trained alike and evaluated on held-out photographs."""

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import photos
from benchmarks.report import Row, Tables
from benchmarks.train import loss_network_file
from model_store import TransformNetwork, open_store
from model_store.command_parser import path_argument
from trainer.config import StyleConfig
from trainer.data import image_files
from trainer.errors import Interrupted
from trainer.hardware import Hardware
from trainer.loss_network import load_loss_network
from trainer.objective import StyleWeights
from trainer.outputs import require_folder
from trainer.pictures import load_painting
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.style import StyleTask
from trainer.style_score import HARDWARE, StyleScorer
from trainer.training_loop import train

SIZES = (256, 480)
"""Longer sides, in pixels, of the photographs for evaluation."""

SPREAD = 0.25
"""Standard deviation of a standardised photograph's values, about 0.5."""

GENERATED_PHOTOS = 4
"""Number of photographs generated for a folder that is not given."""


@dataclass(frozen=True)
class Variant:
    """A network of the study. `options` are those of its training that differ from the common ones."""

    name: str
    options: Mapping[str, object]
    longer: bool = False
    """Train for twice the steps."""
    standardised: bool = False
    """Normalise each photograph to a fixed mean and contrast first."""
    averaged: bool = True
    """Evaluate the averaged weights, not those of the last step."""

    @property
    def run(self) -> str:
        """The name of its training run. Variants that differ only in `averaged` share one."""
        return "-".join(
            [str(self.options["norm"])]
            + ["standardised"] * self.standardised
            + ["taught"] * ("teacher" in self.options)
            + ["longer"] * self.longer
        )


BATCH: Mapping[str, object] = {"norm": "batch", "zoom": 1.0}
BATCH_WITH_TEACHER = {**BATCH, "teacher": "instance"}

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("none", {"norm": "none", "zoom": 1.0}),
        Variant("instance", {"norm": "instance", "zoom": 1.0}),
        Variant("thumbnail", {"norm": "thumbnail"}),
        Variant("batch", BATCH),
        Variant("batch, weights of the last step", BATCH, averaged=False),
        Variant("batch, twice the steps", BATCH, longer=True),
        Variant("batch, contrast-normalised input", BATCH, standardised=True),
        Variant("batch, taught by instance", BATCH_WITH_TEACHER),
        Variant("batch, all of these", BATCH_WITH_TEACHER, longer=True, standardised=True),
    )
}


class StandardizedInput(TransformNetwork):
    """Normalises each photograph to a fixed mean and contrast: two scalars per image, which its tiles could share."""

    def forward(self, image: Tensor, statistics: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """As `TransformNetwork`."""
        mean = image.mean((1, 2, 3), keepdim=True)
        deviation = image.std((1, 2, 3), keepdim=True).clamp_min(1 / 255)
        return super().forward((image - mean) / deviation * SPREAD + 0.5, statistics, noise)


class Study:
    """Trains and evaluates variants with common options. Unfinished runs are resumed."""

    def __init__(self, folder: Path, held_out: Path, common: Mapping[str, object], steps: int) -> None:
        """`folder` receives the runs and their model store."""
        self._folder, self._held_out, self._common, self._steps = folder, held_out, common, steps
        self._tasks: dict[str, StyleTask] = {}

    def row(self, variant: Variant) -> Row:
        """Train a variant, after its teacher if it has one, and evaluate it."""
        config, task = self._config(variant), self._train(variant)
        state = Run(config.folder).load()
        network = deepcopy(task.network).eval().float().cpu()
        network.load_state_dict(state["average" if variant.averaged else "network"])
        return {"normalisation": variant.name, "steps": state["step"], **self._evaluate(config, network)}

    def _config(self, variant: Variant) -> StyleConfig:
        own = {"name": variant.run, "run": self._folder / variant.run, "store": self._folder / "store"}
        steps = self._steps * (2 if variant.longer else 1)
        return StyleConfig.model_validate({**self._common, **own, **variant.options, "steps": steps})

    def _train(self, variant: Variant) -> StyleTask:
        """Train the run of a variant, once, and return its task."""
        config = self._config(variant)
        if config.name not in self._tasks:
            self._publish_teacher(config)
            task, run = _build_task(config, variant), Run(config.folder)
            try:
                train(task, config, run, resume=run.state_file.exists())
            except Interrupted as error:
                raise KeyboardInterrupt from error
            self._tasks[config.name] = task
        return self._tasks[config.name]

    def _publish_teacher(self, config: StyleConfig) -> None:
        if config.teacher and not open_store(config.store).versions(config.teacher):
            teacher = VARIANTS[config.teacher]
            task, own = self._train(teacher), self._config(teacher)
            publish(task, own, Run(own.folder).load())

    def _evaluate(self, config: StyleConfig, network: TransformNetwork) -> Row:
        """The means of the objective, of its content loss and of its style loss, at each size."""
        painting = load_painting(config.style_image, config.style_size, HARDWARE)
        weights = StyleWeights(style_weight=config.style_weight, tv_weight=config.tv_weight)
        scorer = StyleScorer(load_loss_network(config.loss_network), painting, weights)
        found: dict[str, float] = {}
        for side in SIZES:
            terms = scorer.mean(network, self._held_out, side)
            style = sum(value for name, value in terms.items() if name.startswith("style_"))
            found |= {f"{side} px": terms["total"], f"content at {side}": terms["content"], f"style at {side}": style}
        return found


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--style-image", type=path_argument, help="the painting (default: generated, as all that is not given)"
    )
    parser.add_argument("--content", type=path_argument, help="folder of photographs to train on")
    parser.add_argument("--held-out", type=path_argument, help="folder of photographs to judge on")
    parser.add_argument("--loss-network", default="torchvision", help="torchvision or a safetensors file")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to torch")
    parser.add_argument("--runs", type=path_argument, help="folder of the runs, to go on with them another time")


def run(chosen: Namespace) -> Tables:
    """Train and evaluate each variant; one row each."""
    if chosen.runs:
        require_folder("--runs", chosen.runs)
    with tempfile.TemporaryDirectory() as folder:
        study = _create_study(chosen, Path(folder))
        rows = list(_rows(study, [VARIANTS[name] for name in chosen.variants]))
    return {"mean objective on held-out photographs": rows}


def _rows(study: Study, variants: list[Variant]) -> Iterator[Row]:
    for variant in variants:
        row = study.row(variant)
        print(row, flush=True)
        yield row


def _create_study(chosen: Namespace, folder: Path) -> Study:
    """The study with the options of docs/normalisation.md."""
    torch.set_num_threads(chosen.threads or torch.get_num_threads())
    loss_network = loss_network_file(folder / "loss.safetensors") if chosen.quick else chosen.loss_network
    common = {
        "style_image": chosen.style_image or image_files(_generate_photographs(folder / "painting", 0))[0],
        "content": chosen.content or _generate_photographs(folder / "content", 1),
        "loss_network": str(loss_network),
        "architecture": "c9s1-16,d32,d64,R64*5,u32,u16,c9s1-3",
        "image_size": 32 if chosen.quick else 128,
        "style_weight": 4.0,
        "tv_weight": 0.5,
        "ema": 0.99,
        "style_ramp": 0.3,
    }
    held_out = chosen.held_out or _generate_photographs(folder / "held-out", 2)
    return Study(chosen.runs or folder, held_out, common, 2 if chosen.quick else chosen.steps)


def _generate_photographs(folder: Path, which: int) -> Path:
    folder.mkdir()
    for seed in range(which * GENERATED_PHOTOS, (which + 1) * GENERATED_PHOTOS):
        (folder / f"{seed}.jpg").write_bytes(photos.jpeg(photos.photo(256, 192, seed)))
    return folder


def _build_task(config: StyleConfig, variant: Variant) -> StyleTask:
    hardware = Hardware.of("auto", config.precision)
    task = StyleTask(config, hardware)
    if variant.standardised:
        network = StandardizedInput(task.network.spec)
        network.load_state_dict(task.network.state_dict())
        hardware.place(network)
        task.network = network
    return task
