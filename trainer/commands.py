"""The commands of `pastiche-train`: the options of each, and what it does."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import CliImplicitFlag

from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.errors import RunError, TrainerError
from trainer.evaluate import bicubic, evaluate
from trainer.gatys import GatysConfig, optimize
from trainer.hardware import Hardware
from trainer.inversion import InvertConfig, invert
from trainer.loss_network import load_loss_network
from trainer.objective import StyleWeights
from trainer.paper.curves import CurvesConfig, curves
from trainer.paper.loss_networks import LossNetworksConfig, loss_networks
from trainer.paper.speed import SpeedConfig, speed
from trainer.paper.super_resolution import SuperResolutionTableConfig, super_resolution
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.stored_models import find_model
from trainer.style_score import StyleScorer, format_terms
from trainer.task import Task, build
from trainer.train import train

Config = TypeVar("Config", bound=BaseModel)


class Command(BaseModel, ABC):
    """A command: its options as fields, and `execute`, which carries it out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @abstractmethod
    def execute(self) -> str:
        """Carry out the command; returns what to print."""


class Resumable(Command):
    """A command with a run that can be resumed."""

    resume: CliImplicitFlag[bool] = Field(False, description="go on with the run of this folder")

    def config(self, config_type: type[Config]) -> Config:
        """The options without `resume`, as they are kept in the run's folder."""
        fields = self.model_dump(include=set(config_type.model_fields), exclude_unset=True)
        return config_type.model_validate(fields)


class Style(Resumable, StyleConfig):
    """Train a network that paints photographs in the style of one painting, and publish it."""

    def execute(self) -> str:
        return _train(self.config(StyleConfig), self.resume)


class SuperResolution(Resumable, SuperResolutionConfig):
    """Train a network that enlarges photographs, and publish it."""

    def execute(self) -> str:
        return _train(self.config(SuperResolutionConfig), self.resume)


class Publish(Command):
    """Publish the saved state of a run, finished or not."""

    run: Path = Field(description="folder of the run, such as runs/wave")

    def execute(self) -> str:
        """Raises RunError where the folder holds no run."""
        run = Run(self.run)
        if not run.config_file.exists():
            raise RunError(f"{self.run} holds no run; --run takes the folder of one, such as runs/wave")
        fields = json.loads(run.config_file.read_text())
        config_type = StyleConfig if "style_image" in fields else SuperResolutionConfig
        config = config_type.model_validate(fields)
        return _publish(build(config, _hardware(config)), config, run)


class Evaluate(Command):
    """PSNR, SSIM and grid of a super-resolution network, beside bicubic's."""

    model: str = Field(description="NAME or NAME@VERSION")
    images: Path = Field(description="folder of high-resolution images, such as Set5")
    store: Path = Field(Path("models"), description="model store")

    def execute(self) -> str:
        stored = find_model(self.store, self.model)
        scale = stored.manifest.scale
        rows = {stored.manifest.label: evaluate(stored.network, self.images, scale)}
        rows["bicubic"] = evaluate(bicubic(scale), self.images, scale)
        return "\n".join(f"{method:24} {_format_scores(scores)}" for method, scores in rows.items())


class Judge(Command, StyleWeights):
    """The objective of style networks on photographs that they have not seen."""

    models: tuple[str, ...] = Field(description="NAME or NAME@VERSION")
    images: Path = Field(description="folder of photographs")
    style_image: Path = Field(description="the painting")
    style_size: int = Field(512, description="its longer side")
    sizes: tuple[int, ...] = Field((512,), description="longer sides of the photographs")
    loss_network: str = Field("torchvision", description="torchvision or a safetensors file")
    store: Path = Field(Path("models"), description="model store")

    def execute(self) -> str:
        weights = StyleWeights.model_validate(self.model_dump(include=set(StyleWeights.model_fields)))
        scorer = StyleScorer(load_loss_network(self.loss_network), self.style_image, self.style_size, weights)
        lines = []
        for reference in self.models:
            stored = find_model(self.store, reference)
            for side in self.sizes:
                terms = scorer.mean(stored.network, self.images, side)
                lines.append(f"{stored.manifest.label:24} {side:5} px  {format_terms(terms)}")
        return "\n".join(lines)


class Optimize(Resumable, GatysConfig):
    """Paint one photograph in the style of one painting by optimisation (Gatys et al. 2016), without a network."""

    def execute(self) -> str:
        return optimize(self.config(GatysConfig), resume=self.resume)


class Invert(Resumable, InvertConfig):
    """Find images that have a photograph's features, or a painting's style, in one layer of the loss network."""

    def execute(self) -> str:
        return invert(self.config(InvertConfig), resume=self.resume)


class Speed(Command, SpeedConfig):
    """Table 1: seconds of 100, 300 and 500 iterations of optimisation against one forward pass."""

    def execute(self) -> str:
        return speed(self)


class Objective(Resumable, CurvesConfig):
    """Figure 5: the objective over the iterations of optimisation from noise, against a network's."""

    def execute(self) -> str:
        return curves(self.config(CurvesConfig), resume=self.resume)


class SuperResolutionTable(Command, SuperResolutionTableConfig):
    """Figures 8 and 9: PSNR and SSIM on Y of enlarging networks, beside bicubic's and the paper's."""

    def execute(self) -> str:
        return super_resolution(self)


class LossNetworks(Resumable, LossNetworksConfig):
    """What the choice of the loss network changes: the scale of its losses, and the images that minimise them."""

    def execute(self) -> str:
        return loss_networks(self.config(LossNetworksConfig), resume=self.resume)


def _train(config: TrainConfig, resume: bool) -> str:
    """Train and publish. Raises TrainerError in one of several processes, which torchrun would start."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainerError(
            "one process trains a network; start it without torchrun, and several styles on several GPUs"
        )
    task, run = build(config, _hardware(config)), Run(config.folder)
    train(task, config, run, resume=resume)
    if resume and (label := run.published_as(run.load()["step"])):
        return f"the run was finished, and published as {label}; `publish --run {run.folder}` publishes it again"
    return _publish(task, config, run)


def _publish(task: Task, config: TrainConfig, run: Run) -> str:
    state = run.load()
    manifest = publish(task, config, state)
    run.note_published(state["step"], manifest.label)
    return f"published {manifest.label} ({manifest.digest})"


def _hardware(config: TrainConfig) -> Hardware:
    return Hardware.of(config.device, config.precision, config.threads)


def _format_scores(scores: Mapping[str, float]) -> str:
    grid = f"  grid {scores['grid']:+.1f} dB" if "grid" in scores else ""
    return f"{scores['psnr']:6.2f} dB  SSIM {scores['ssim']:.4f}{grid}"
