"""Images by optimisation, as Gatys et al. 2016: the baseline that the paper's networks replace (paper §4.1)."""

import csv
import io
import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from tqdm import tqdm

from model_store.durable import replace_file
from trainer.errors import Interrupted
from trainer.hardware import Hardware
from trainer.interruption import interruption
from trainer.loss_network import load_loss_network
from trainer.minimisers import MEMORY, ClippedLBFGS, Minimiser, Objective, Point, ProjectedAdam, ProjectedLBFGS
from trainer.objective import ImageObjective, StyleWeights, style_objective
from trainer.pictures import digest, painting, photograph
from trainer.run import Run, png

Method = Literal["lbfgs", "clipped-lbfgs", "adam"]
Begin = Literal["noise", "content"]


class Minimisation(BaseModel):
    """How an objective of one image is minimised; options of every command that does."""

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
    seed: int = Field(0, ge=0, description="of the noise")
    loss_network: str = Field(
        "torchvision", description="torchvision (VGG-16, downloaded), random, or a safetensors file"
    )
    loss_layout: str = Field("auto", description="vgg16, vgg19-distilled or squeezenet1_1; auto recognises the file")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves the choice to torch")

    def precise(self) -> Hardware:
        """The hardware in fp32, not rounded to TF32: what is rounded away is what a line search looks for."""
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        return Hardware.of(self.device, "fp32", self.threads)

    def minimiser(self, objective: Objective, image: Tensor) -> Minimiser:
        """Of this method, at its first image."""
        match self.method:
            case "lbfgs":
                return ProjectedLBFGS(objective, image, self.memory)
            case "clipped-lbfgs":
                return ClippedLBFGS(objective, image, self.memory)
            case "adam":
                return ProjectedAdam(objective, image, self.learning_rate)


class OptimizeConfig(StyleWeights, Minimisation):
    """Paint one photograph in the style of one painting by optimisation (Gatys et al. 2016), without a network."""

    content: Path = Field(description="the photograph")
    style_image: Path = Field(description="the painting")
    run: Path = Field(Path("runs/optimize"), description="folder for the result, the objective and the state")
    image_size: int = Field(512, ge=32, description="longer side to which the photograph is reduced")
    style_size: int = Field(512, ge=16, description="longer side at which the painting is seen; sets the stroke size")
    begin: Begin = Field("noise", description="noise (the paper's) or content: the photograph itself")


def optimize(config: OptimizeConfig, *, resume: bool = False) -> str:
    """Paint the photograph; what to tell the user."""
    hardware = config.precise()
    loss_network = load_loss_network(config.loss_network, config.loss_layout)
    hardware.place(loss_network)
    photo = photograph(config.content, config.image_size, hardware)
    weights = style_objective(config, loss_network, painting(config.style_image, config.style_size, hardware))
    objective = ImageObjective(weights, loss_network, photo)
    fingerprint = f"{digest(config.content)} {digest(config.style_image)} {loss_network.source}"
    begin = noise(photo, config.seed) if config.begin == "noise" else photo
    point = minimise(config, objective, begin, Run(config.run), fingerprint, resume=resume)
    return f"objective {point.value:.4g}; {config.run}/result.png, {config.run}/objective.csv"


def noise(like: Tensor, seed: int) -> Tensor:
    """White noise, evenly distributed over [0, 1], of the shape, the device and the layout of `like`."""
    return torch.empty_like(like).copy_(torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)))


def minimise(
    config: Minimisation,
    objective: Objective,
    begin: Tensor,
    run: Run,
    fingerprint: str,
    *,
    resume: bool,
    name: str = "",
) -> Point:
    """Minimise an objective for `config.steps` iterations, or until the method can do no better.

    The folder of the run gets the image (result.png) and the objective by iteration (objective.csv). The state is
    saved every `save_every` iterations and when the first Ctrl-C or SIGTERM comes, between two iterations; Interrupted
    is raised then. A resumed run continues exactly where the state was saved; on a GPU, where sums have no fixed order,
    nearly so.
    """
    saved = run.begin(config, fingerprint, resume=resume)
    minimiser = config.minimiser(objective, begin)
    first = int(saved["step"]) if saved else 0
    if saved:
        minimiser.restore(saved["minimiser"])
    else:
        _log(run, 0, minimiser)
    bar = tqdm(range(first + 1, config.steps + 1), name, initial=first, total=config.steps, unit="iteration")
    with interruption() as wish:
        for step in bar:
            if not minimiser.step():
                break
            _log(run, step, minimiser)
            bar.set_postfix(objective=f"{minimiser.point.value:.5g}", evaluations=minimiser.evaluations)
            if step % config.save_every == 0 or step == config.steps or wish.is_set():
                run.save({"step": step, "minimiser": minimiser.state(), "fingerprint": fingerprint})
            if wish.is_set():
                raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on from there")
    replace_file(run.folder / "result.png", png(minimiser.point.image[0]))
    replace_file(run.folder / "objective.csv", _csv(run).encode())
    return minimiser.point


def _log(run: Run, step: int, minimiser: Minimiser) -> None:
    point = minimiser.point
    run.log(step, {"evaluations": minimiser.evaluations, "objective": point.value, **point.terms})


def _csv(run: Run) -> str:
    """The run's metrics as a table: iteration, evaluations, objective, its terms."""
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
