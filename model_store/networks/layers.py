"""The layers of transform networks, in the three forms of padding."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "instance", "thumbnail", "none"]
Padding = Literal["zero", "reflection", "valid"]
"""How a convolution gets the pixels around its input: zeros, a reflection, or none (the result is smaller)."""


def reflect(image: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Extend (…, H, W) by its reflection about the border pixels, by any number of pixels."""
    height, width = image.shape[-2:]
    if max(left, right) < width and max(top, bottom) < height:
        return F.pad(image, (left, right, top, bottom), mode="reflect")
    rows = reflected(height, -top, height + bottom, image.device)
    columns = reflected(width, -left, width + right, image.device)
    return image.index_select(-2, rows).index_select(-1, columns)


def reflected(side: int, begin: int, end: int, device: torch.device | None = None) -> Tensor:
    """Which of the pixels 0 … `side` - 1 stand at the coordinates from `begin` up to `end`, reflected about both ends.

    The map has period 2(side - 1) and is constant for a side of 1, so the coordinates may be anywhere.
    """
    period = max(2 * (side - 1), 1)
    index = torch.arange(begin, end, device=device) % period
    return torch.where(index < side, index, period - index)


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


class ThumbnailNorm(InstanceNorm):
    """Instance normalisation by the mean and variance of the image's thumbnail, given as a scale and a shift.

    Of a plane without them it takes the plane's own, as instance normalisation does.
    """

    def forward(self, x: Tensor) -> Tensor:
        return affine_map(x, self.scale_and_shift(x))

    def scale_and_shift(self, features: Tensor) -> Tensor:
        """(N, 2, C) in fp32, scale and shift: with them features (N, C, H, W) are normalised and have the layer's
        weight and bias. The variance is that of the differences from the mean, which in fp32 is exact enough."""
        exact = features.float()
        mean = exact.mean((2, 3))
        variance = (exact - mean[..., None, None]).square().mean((2, 3))
        scale = self.weight.float() * torch.rsqrt(variance + self.eps)
        return torch.stack([scale, self.bias.float() - scale * mean], dim=1)


def affine_map(features: Tensor, affine: Tensor) -> Tensor:
    """scale · features + shift for (N, C, H, W) and (N, 2, C); without gradients it overwrites the features."""
    scale, shift = affine.to(features.dtype)[..., None, None].unbind(1)
    return torch.addcmul(shift, features, scale, out=None if torch.is_grad_enabled() else features)


def normalization(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer of that name for so many channels."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return InstanceNorm(channels)
        case "thumbnail":
            return ThumbnailNorm(channels)
        case "none":
            return nn.Identity()


class TransformLayer(nn.Module, ABC):
    """A layer of a transform network, (N, C, H, W) to (N, C', H', W').

    `affine` are the scales and shifts of its thumbnail normalisations, (N, 2, channels), or (1, 2, channels) for all of
    the batch; without them a plane is normalised by its own statistics.
    """

    @property
    @abstractmethod
    def channels(self) -> int:
        """How many scales and shifts the layer takes."""

    @abstractmethod
    def forward(self, x: Tensor, affine: Tensor | None = None) -> Tensor:
        """The layer in its form."""

    @abstractmethod
    def measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The layer in the *same* form, normalised by its own statistics, and these: (N, 2, channels) in fp32."""


class NormalizedConv(TransformLayer):
    """A convolution, its normalisation, its ReLU; the last two are optional.

    Where `folds` allows it, a scale and a shift for all of the batch are folded into the convolution's weights and
    bias, which costs nothing beside a plane. In half precision it must not: folded weights round otherwise than the
    weights that were measured, and where an image is nearly flat a large scale makes colours of the difference.
    """

    conv: nn.Conv2d | nn.ConvTranspose2d

    def __init__(
        self, conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module, relu: nn.Module, *, reflected: bool
    ) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = conv, norm, relu
        self.reflected = reflected
        self.folds = False

    @property
    def channels(self) -> int:
        return self.norm.num_features if isinstance(self.norm, ThumbnailNorm) else 0

    def forward(self, x: Tensor, affine: Tensor | None = None) -> Tensor:
        if affine is None or not self.channels:
            features = self.norm(self._convolved(x))
        elif self.folds and len(affine) == 1:
            features = self.convolved(x, *self._folded(affine[0]), reflected=self.reflected)
        else:
            features = affine_map(self._convolved(x), affine)
        result: Tensor = self.relu(features)
        return result

    def measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convolved(x, self.conv.weight, self.conv.bias, reflected=True)
        if not isinstance(self.norm, ThumbnailNorm):
            return self.relu(self.norm(features)), x.new_empty(len(x), 2, 0, dtype=torch.float32)
        affine = self.norm.scale_and_shift(features)
        return self.relu(affine_map(features, affine)), affine

    @abstractmethod
    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        """The convolution with these weights, of a plane that is reflected as in the *same* form, or as it is."""

    def _convolved(self, x: Tensor) -> Tensor:
        return self.convolved(x, self.conv.weight, self.conv.bias, reflected=self.reflected)

    def _folded(self, affine: Tensor) -> tuple[Tensor, Tensor]:
        """The weights and the bias that make the convolution a normalised one, by a (2, channels)."""
        weight = self.conv.weight
        scale, shift = affine.repeat_interleave(self.conv.out_channels // self.channels, dim=1)
        of_filters = (1, -1, 1, 1) if isinstance(self.conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
        bias = shift if self.conv.bias is None else torch.addcmul(shift, scale, self.conv.bias)
        return weight * scale.view(of_filters), bias


class ConvLayer(NormalizedConv):
    """Convolution, normalisation, ReLU; the last two are optional."""

    conv: nn.Conv2d

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
        around = kernel // 2
        conv = nn.Conv2d(channels, filters, kernel, stride, padding=around if padding == "zero" else 0)
        activation = nn.ReLU() if relu else nn.Identity()
        super().__init__(conv, normalization(norm, filters), activation, reflected=padding == "reflection")
        self.around = around

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        if reflected:
            x = reflect(x, self.around, self.around, self.around, self.around)
        return F.conv2d(x, weight, bias, self.conv.stride, self.conv.padding)


class ResidualBlock(TransformLayer):
    """Two 3×3 convolutions added to their input, no ReLU after the sum (Gross and Wilber 2016).

    Where the convolutions are valid the input is cropped by the two pixels that they take.
    """

    def __init__(self, filters: int, *, padding: Padding, norm: Norm) -> None:
        super().__init__()
        self.first = ConvLayer(filters, filters, 3, padding=padding, norm=norm)
        self.second = ConvLayer(filters, filters, 3, padding=padding, norm=norm, relu=False)
        self.crop = 2 if padding == "valid" else 0

    @property
    def channels(self) -> int:
        return self.first.channels + self.second.channels

    def forward(self, x: Tensor, affine: Tensor | None = None) -> Tensor:
        first, second = (None, None) if affine is None else affine.chunk(2, dim=2)
        change: Tensor = self.second(self.first(x, first), second)
        height, width = change.shape[-2:]
        return x[..., self.crop : self.crop + height, self.crop : self.crop + width] + change

    def measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, first = self.first.measured(x)
        change, second = self.second.measured(features)
        return x + change, torch.cat([first, second], dim=2)


class UpsampleLayer(NormalizedConv):
    """Nearest-neighbour enlargement by two, then a 3×3 convolution, normalisation and ReLU.

    It has no checkerboard artefacts (Odena et al. 2016), which the paper's transposed convolution has.
    """

    conv: nn.Conv2d

    def __init__(self, channels: int, filters: int, *, padding: Padding, norm: Norm) -> None:
        conv, reflected = nn.Conv2d(channels, filters, 3), padding == "reflection"
        super().__init__(conv, normalization(norm, filters), nn.ReLU(), reflected=reflected)

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.conv2d(reflect(enlarged, 1, 1, 1, 1) if reflected else enlarged, weight, bias)


class TransposedLayer(NormalizedConv):
    """The paper's convolution of stride 1/2: transposed 3×3 convolution, normalisation, ReLU; side × 2."""

    conv: nn.ConvTranspose2d

    def __init__(self, channels: int, filters: int, *, norm: Norm) -> None:
        conv = nn.ConvTranspose2d(channels, filters, 3, stride=2, padding=1, output_padding=1)
        super().__init__(conv, normalization(norm, filters), nn.ReLU(), reflected=False)

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:  # noqa: ARG002
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)


class ShuffleLayer(TransformLayer):
    """Pixel shuffle: factor² channels become one of factor times the side (Shi et al. 2016)."""

    channels = 0

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, affine: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return F.pixel_shuffle(x, self.factor)

    def measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(x, self.factor), x.new_empty(len(x), 2, 0, dtype=torch.float32)


class ScaledTanh(nn.Module):
    """The paper's output: 0.5 + 150/255 · tanh, a little more than [0, 1], which keeps tanh off saturation.

    What is added to an image is centred on 0 instead.
    """

    def __init__(self, centre: float = 0.5) -> None:
        super().__init__()
        self.centre = centre

    def forward(self, x: Tensor) -> Tensor:
        return self.centre + 150 / 255 * torch.tanh(x)
