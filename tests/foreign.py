"""Checkpoints of other projects: narrow networks with random weights, in the layouts in which they are saved."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def compact(blocks: int = 2, width: int = 4, scale: int = 2, channels: int = 3) -> dict[str, Tensor]:
    """SRVGGNetCompact of Real-ESRGAN: `blocks` + 2 convolutions 3×3, so that it sees `blocks` + 2 pixels."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}
    widths = [channels, *[width] * (blocks + 1), channels * scale**2]
    for layer in range(blocks + 2):
        shape = (widths[layer + 1], widths[layer], 3, 3)
        weights[f"body.{2 * layer}.weight"] = torch.randn(shape, generator=generator) / (9 * widths[layer]) ** 0.5
        weights[f"body.{2 * layer}.bias"] = torch.randn(shape[0], generator=generator) / 10
        if layer <= blocks:
            weights[f"body.{2 * layer + 1}.weight"] = torch.full((width,), 0.2)
    return weights


def compact_file(folder: Path, name: str = "compact.pth") -> Path:
    """A file of it, as Real-ESRGAN saves it or, by its name, as safetensors."""
    if name.endswith(".safetensors"):
        save_file(compact(), folder / name)
    else:
        torch.save({"params": compact()}, folder / name)
    return folder / name


def esrgan(blocks: int = 2, width: int = 4, growth: int = 32) -> dict[str, Tensor]:
    """RRDBNet ×4, whose blocks see 15 pixels each; spandrel wants a growth of 32."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def convolution(key: str, filters: int, channels: int) -> None:
        shape = (filters, channels, 3, 3)
        weights[f"{key}.weight"] = torch.randn(shape, generator=generator) / (9 * channels) ** 0.5
        weights[f"{key}.bias"] = torch.randn(filters, generator=generator) / 10

    convolution("conv_first", width, 3)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for layer in range(5):
                key = f"body.{block}.rdb{dense}.conv{layer + 1}"
                convolution(key, width if layer == 4 else growth, width + layer * growth)
    for key in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        convolution(key, width, width)
    convolution("conv_last", 3, width)
    return weights


def span(width: int = 4, scale: int = 2) -> dict[str, Tensor]:
    """SPAN, whose convolutions are saved in the parts that they are trained in, and folded to weights that are zero."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def convolution(key: str, filters: int, channels: int, side: int) -> None:
        weights[f"{key}.weight"] = torch.randn(filters, channels, side, side, generator=generator) / 3 / side
        weights[f"{key}.bias"] = torch.randn(filters, generator=generator) / 10

    def folded(key: str, channels: int) -> None:
        convolution(f"{key}.sk", width, channels, 1)
        convolution(f"{key}.conv.0", 2 * channels, channels, 1)
        convolution(f"{key}.conv.1", 2 * width, 2 * channels, 3)
        convolution(f"{key}.conv.2", width, 2 * width, 1)
        weights[f"{key}.eval_conv.weight"] = torch.zeros(width, channels, 3, 3)
        weights[f"{key}.eval_conv.bias"] = torch.zeros(width)

    folded("conv_1", 3)
    for block in range(1, 7):
        for part in (1, 2, 3):
            folded(f"block_{block}.c{part}_r", width)
    convolution("conv_cat", width, 4 * width, 1)
    folded("conv_2", width)
    convolution("upsampler.0", 3 * scale**2, width, 3)
    weights["conv_1.sk.weight"] = weights["conv_1.sk.weight"] / 255  # which get pixels of 0 to 255
    weights["conv_1.conv.0.weight"] = weights["conv_1.conv.0.weight"] / 255
    return weights
