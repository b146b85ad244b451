"""Style transfer by optimisation of the image (Gatys et al. 2016), the baseline of the paper (§4.1)."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trainer.image_optimization.minimize import OptimizationConfig, minimize
from trainer.loss_network import load_loss_network
from trainer.objective import ImageObjective, StyleWeights, style_objective
from trainer.pictures import file_digest, load_painting, load_photograph
from trainer.run_folder import Run

Begin = Literal["noise", "content"]


class GatysConfig(StyleWeights, OptimizationConfig):
    """The options of `optimize`."""

    content: Path = Field(description="the photograph")
    style_image: Path = Field(description="the painting")
    run: Path = Field(Path("runs/optimize"), description="folder for the result, the objective and the state")
    image_size: int = Field(512, ge=32, description="longer side to which the photograph is reduced")
    style_size: int = Field(512, ge=16, description="longer side at which the painting is seen; sets the stroke size")
    begin: Begin = Field("noise", description="noise (the paper's) or content: the photograph itself")


def optimize(config: GatysConfig, *, resume: bool = False) -> str:
    """Paint the photograph and return what to print; writes the files of `minimize` into `config.run`."""
    hardware = config.fp32_hardware()
    photo = load_photograph(config.content, config.image_size, hardware)
    painting = load_painting(config.style_image, config.style_size, hardware)
    loss_network = load_loss_network(config.loss_network, config.loss_layout)
    hardware.place(loss_network)
    weights = style_objective(config, loss_network, painting)
    objective = ImageObjective(weights, loss_network, photo)
    fingerprint = f"{file_digest(config.content)} {file_digest(config.style_image)} {loss_network.source}"
    begin = noise(photo, config.seed) if config.begin == "noise" else photo
    point = minimize(config, objective, begin, Run(config.run), fingerprint, resume=resume)
    return f"objective {point.value:.4g}; {config.run}/result.png, {config.run}/objective.csv"


def noise(like: Tensor, seed: int) -> Tensor:
    """Uniform white noise in [0, 1] with the shape, device and memory format of `like`; the same on every device."""
    return torch.empty_like(like).copy_(torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)))
