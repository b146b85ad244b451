"""Small data that the trainer's tests train on."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor


def photograph(path: Path, width: int = 60, height: int = 48, seed: int = 0) -> Path:
    """A picture with smooth areas and edges."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def photographs(folder: Path, count: int = 5, width: int = 60, height: int = 48) -> Path:
    """A folder of pictures."""
    for i in range(count):
        photograph(folder / f"{i}.png", width, height, seed=i)
    return folder


def loss_network_file(path: Path, width: int = 3) -> Path:
    """Random weights in the layout of the distilled VGG-19, a few channels wide."""
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
