"""The layers of transform networks, in the three forms of padding."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "instance", "none"]
Padding = Literal["zero", "reflection", "valid"]
"""How a convolution gets the pixels around its input: zeros, a reflection, or none (the result is smaller)."""


def reflect(image: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Extend (…, H, W) by its reflection about the border pixels, by any number of pixels.

    The index map has period 2(N - 1) and is constant for N = 1, so margins may exceed the side.
    """
    height, width = image.shape[-2:]
    if max(left, right) < width and max(top, bottom) < height:
        return F.pad(image, (left, right, top, bottom), mode="reflect")
    rows = _reflected(height, top, bottom, image.device)
    columns = _reflected(width, left, right, image.device)
    return image.index_select(-2, rows).index_select(-1, columns)


def _reflected(side: int, before: int, after: int, device: torch.device) -> Tensor:
    period = max(2 * (side - 1), 1)
    index = torch.arange(-before, side + after, device=device) % period
    return torch.where(index < side, index, period - index)


class Reflection(nn.Module):
    """Extends each side of (N, C, H, W) by `margin` reflected pixels."""

    def __init__(self, margin: int) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        return reflect(x, self.margin, self.margin, self.margin, self.margin)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation (Ulyanov et al. 2016) with scale and shift, defined for one pixel too.

    A plane of one pixel has no variance: it becomes the shift, the limit of a constant plane.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:].numel() == 1:
            return x - x + self.bias.to(x.dtype)[:, None, None]
        return super().forward(x)


def normalization(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer of that name for so many channels."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return InstanceNorm(channels)
        case "none":
            return nn.Identity()


class ConvLayer(nn.Module):
    """Convolution, normalisation, ReLU; the last two are optional."""

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int,
        stride: int = 1,
        *,
        padding: Padding,
        norm: Norm = "none",
        relu: bool = True,
    ) -> None:
        super().__init__()
        around = kernel // 2
        self.pad = Reflection(around) if padding == "reflection" else nn.Identity()
        self.conv = nn.Conv2d(channels, filters, kernel, stride, padding=around if padding == "zero" else 0)
        self.norm = normalization(norm, filters)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.norm(self.conv(self.pad(x))))
        return result


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions added to their input, no ReLU after the sum (Gross and Wilber 2016).

    Where the convolutions are valid the input is cropped by the two pixels that they take.
    """

    def __init__(self, filters: int, *, padding: Padding, norm: Norm) -> None:
        super().__init__()
        self.first = ConvLayer(filters, filters, 3, padding=padding, norm=norm)
        self.second = ConvLayer(filters, filters, 3, padding=padding, norm=norm, relu=False)
        self.crop = 2 if padding == "valid" else 0

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(self.first(x))
        height, width = change.shape[-2:]
        return x[..., self.crop : self.crop + height, self.crop : self.crop + width] + change


class UpsampleLayer(nn.Module):
    """Nearest-neighbour enlargement by two, then a 3×3 convolution, normalisation and ReLU.

    It has no checkerboard artefacts (Odena et al. 2016), which the paper's transposed convolution has.
    """

    def __init__(self, channels: int, filters: int, *, padding: Padding, norm: Norm) -> None:
        super().__init__()
        self.pad = Reflection(1) if padding == "reflection" else nn.Identity()
        self.conv = nn.Conv2d(channels, filters, 3)
        self.norm = normalization(norm, filters)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=2.0, mode="nearest")
        result: Tensor = self.relu(self.norm(self.conv(self.pad(enlarged))))
        return result


class TransposedLayer(nn.Module):
    """The paper's convolution of stride 1/2: transposed 3×3 convolution, normalisation, ReLU; side × 2."""

    def __init__(self, channels: int, filters: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, filters, 3, stride=2, padding=1, output_padding=1)
        self.norm = normalization(norm, filters)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.norm(self.conv(x)))
        return result


class ScaledTanh(nn.Module):
    """The paper's output: 0.5 + 150/255 · tanh, a little more than [0, 1], which keeps tanh off saturation.

    What is added to an image is centred on 0 instead.
    """

    def __init__(self, centre: float = 0.5) -> None:
        super().__init__()
        self.centre = centre

    def forward(self, x: Tensor) -> Tensor:
        return self.centre + 150 / 255 * torch.tanh(x)
