"""Small images, loss networks and configurations for the tests of the trainer."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from model_store import Manifest
from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.hardware import Hardware
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.task import build
from trainer.training_loop import train


def photograph(path: Path, width: int = 60, height: int = 48, seed: int = 0) -> Path:
    """Write a picture with smooth areas and edges; the same for the same seed."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def photographs(folder: Path, count: int = 5, width: int = 60, height: int = 48) -> Path:
    """Write `count` pictures into a folder."""
    for i in range(count):
        photograph(folder / f"{i}.png", width, height, seed=i)
    return folder


def loss_network_file(path: Path, width: int = 3) -> Path:
    """Write random weights in the layout vgg19-distilled, `width` channels in every layer."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {"conv0.weight": torch.eye(3)[..., None, None], "conv0.bias": torch.zeros(3)}
    channels = 3
    for block, layers in ((1, 2), (2, 2), (3, 4), (4, 4), (5, 1)):
        for layer in range(1, layers + 1):
            weights[f"conv{block}{layer}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) / 3
            weights[f"conv{block}{layer}.bias"] = torch.rand(width, generator=generator)
            channels = width
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path


def teacher_file(path: Path, scale: int = 2) -> Path:
    """Write a narrow network that enlarges so much (SRVGGNetCompact, which spandrel knows), with random weights."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {f"body.{index}.weight": torch.full((4,), 0.2) for index in (1, 3)}
    for index, channels in ((0, (4, 3)), (2, (4, 4)), (4, (3 * scale**2, 4))):
        weights[f"body.{index}.weight"] = torch.randn(*channels, 3, 3, generator=generator) / 10
        weights[f"body.{index}.bias"] = torch.zeros(channels[0])
    save_file(weights, path)
    return path


def style_config(folder: Path, **options: object) -> StyleConfig:
    """The options of a run of six steps for a narrow style network."""
    return StyleConfig.model_validate(
        {
            "name": "wave",
            "content": photographs(folder / "photos"),
            "style_image": photograph(folder / "painting.png", 64, 64, seed=99),
            "loss_network": str(loss_network_file(folder / "loss.safetensors")),
            "store": folder / "models",
            "run": folder / "run",
            "architecture": "c3s1-4,d6,R6,u4,c3s1-3",
            "image_size": 16,
            "batch": 2,
            "steps": 6,
            "warmup": 2,
            "style_ramp": 0,
            "zoom": 1,
            "log_every": 2,
            "preview_every": 3,
            "save_every": 3,
            "device": "cpu",
        }
        | options
    )


def upscale_config(folder: Path, **options: object) -> SuperResolutionConfig:
    """The options of a run of six steps for a narrow ×2 network."""
    return SuperResolutionConfig.model_validate(
        {
            "name": "x2",
            "scale": 2,
            "content": photographs(folder / "photos"),
            "store": folder / "models",
            "run": folder / "run",
            "architecture": "c3s1-8,R8,c3s1-12,p2",
            "image_size": 32,
            "batch": 2,
            "steps": 6,
            "warmup": 0,
            "device": "cpu",
        }
        | options
    )


def style_arguments(folder: Path, *more: str) -> list[str]:
    """The command line of a short run for a narrow style network; `more` comes last."""
    options = {
        "name": "wave",
        "content": photographs(folder / "photos"),
        "style-image": photograph(folder / "painting.png", 64, 64),
        "loss-network": loss_network_file(folder / "loss.safetensors"),
        "store": folder / "models",
        "run": folder / "run",
        "architecture": "c3s1-4,d6,u4,c3s1-3",
        "image-size": 16,
        "batch": 2,
        "steps": 3,
        "device": "cpu",
    }
    return ["style", *(part for name, value in options.items() for part in (f"--{name}", str(value))), *more]


def run_training(config: TrainConfig, *, resume: bool = False) -> torch.nn.Module:
    """Train, or resume; returns the averaged network."""
    task = build(config, Hardware.of(config.device, config.precision))
    return train(task, config, Run(config.folder), resume=resume)


def published(config: TrainConfig) -> Manifest:
    """Train and publish; returns the manifest."""
    run_training(config)
    return publish(build(config, Hardware.of(config.device, config.precision)), config, Run(config.folder).load())
