"""The layers of transform networks."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "instance", "thumbnail", "none"]
Triple = tuple[float, float, float]
"""A value for each of red, green and blue."""

Padding = Literal["zero", "same-zero", "reflection", "valid"]
"""What surrounds the input of a convolution: zeros, its reflection, or nothing (the result is smaller).

Same-zero is TensorFlow's SAME: as many zeros as make the output ⌈side / stride⌉ long, the odd one at the far end.
"""


def reflect(image: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Extend (…, H, W) by its reflection about the border pixels, which are not repeated, by any number of pixels."""
    height, width = image.shape[-2:]
    if not torch.compiler.is_exporting() and max(left, right) < width and max(top, bottom) < height:
        return F.pad(image, (left, right, top, bottom), mode="reflect")
    rows = reflected(height, -top, height + bottom, image.device)
    columns = reflected(width, -left, width + right, image.device)
    return image.index_select(-2, rows).index_select(-1, columns)


def reflected(side: int, begin: int, end: int, device: torch.device | None = None) -> Tensor:
    """Indices of the pixels at the coordinates `begin` … `end` - 1 of an axis of `side` pixels, reflected at both ends.

    They have period 2(side - 1), and are 0 for a side of 1, so the coordinates may be anywhere.
    """
    period = torch.scalar_tensor(max(2 * (side - 1), 1), dtype=torch.int64, device=device)
    index = torch.arange(begin, end, device=device) % period
    return torch.where(index < side, index, period - index)


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad with zeros as TensorFlow's SAME does."""
    height, width = (max((side - 1) // stride * stride + kernel - side, 0) for side in x.shape[-2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation (Ulyanov et al. 2016) with weight and bias, also defined for planes of one pixel.

    Such a plane has no variance: it becomes the bias, as a constant plane does in the limit.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():  # planes of any size, without a branch
            return apply_affine(x, self.scale_and_shift(x))
        if x.shape[-2:].numel() == 1:
            return x - x + self.bias.to(x.dtype)[:, None, None]
        return super().forward(x)

    def scale_and_shift(self, features: Tensor) -> Tensor:
        """The affine map (N, 2, C), in fp32, that normalises features (N, C, H, W) and applies weight and bias.

        The variance is computed from differences from the mean, which is accurate enough in fp32.
        """
        exact = features.float()
        mean = exact.mean((2, 3))
        variance = (exact - mean[..., None, None]).square().mean((2, 3))
        scale = self.weight.float() * torch.rsqrt(variance + self.eps)
        return torch.stack([scale, self.bias.float() - scale * mean], dim=1)


class ThumbnailNorm(InstanceNorm):
    """Instance normalisation by the mean and variance of the image's thumbnail.

    `forward` uses those of the plane itself, as instance normalisation does.
    """

    def forward(self, x: Tensor) -> Tensor:
        return apply_affine(x, self.scale_and_shift(x))


def apply_affine(features: Tensor, affine: Tensor) -> Tensor:
    """scale · features + shift, for features (N, C, H, W) and an affine map (N, 2, C).

    If gradients are disabled the features are overwritten.
    """
    scale, shift = affine.to(features.dtype)[..., None, None].unbind(1)
    return torch.addcmul(shift, features, scale, out=None if torch.is_grad_enabled() else features)


def normalization(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer `norm`."""
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

    `affine` has the scales and shifts of its thumbnail normalisations, (N, 2, channels), or (1, 2, channels) for the
    whole batch. Without it planes are normalised by their own statistics.
    """

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of channels with thumbnail normalisation, each with a scale and a shift."""

    @abstractmethod
    def forward(self, x: Tensor, affine: Tensor | None = None) -> Tensor:
        """Apply the layer with its own padding."""

    @abstractmethod
    def forward_and_measure(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the layer in the *same* form, normalised by its own statistics; also returns their affine map.

        The affine map is (N, 2, channels) in fp32.
        """


class NormalizedConv(TransformLayer):
    """A convolution with optional normalisation and ReLU.

    With `fold_affine`, one scale and shift for the whole batch are folded into the weights and the bias of the
    convolution, at negligible cost. It must be off in half precision: folded weights round differently from those the
    statistics were measured with, and in nearly flat images a large scale amplifies the difference to visible colours.
    """

    conv: nn.Conv2d | nn.ConvTranspose2d

    def __init__(
        self, conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module, relu: nn.Module, *, reflected: bool
    ) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = conv, norm, relu
        self.reflected = reflected
        self.fold_affine = False

    @property
    def channels(self) -> int:
        return self.norm.num_features if isinstance(self.norm, ThumbnailNorm) else 0

    def forward(self, x: Tensor, affine: Tensor | None = None) -> Tensor:
        if affine is None or not self.channels:
            features = self.norm(self._convolve(x))
        elif self.fold_affine and len(affine) == 1:
            features = self.convolve(x, *self._fold(affine[0]), reflected=self.reflected)
        else:
            features = apply_affine(self._convolve(x), affine)
        result: Tensor = self.relu(features)
        return result

    def forward_and_measure(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convolve(x, self.conv.weight, self.conv.bias, reflected=True)
        if not isinstance(self.norm, ThumbnailNorm):
            return self.relu(self.norm(features)), x.new_empty(x.shape[0], 2, 0, dtype=torch.float32)
        affine = self.norm.scale_and_shift(features)
        return self.relu(apply_affine(features, affine)), affine

    @abstractmethod
    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        """Convolve with these weights; with `reflected` the plane is first reflected, as in the *same* form."""

    def _convolve(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.conv.weight, self.conv.bias, reflected=self.reflected)

    def _fold(self, affine: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution with an affine map (2, channels) folded in."""
        weight = self.conv.weight
        scale, shift = affine.repeat_interleave(self.conv.out_channels // self.channels, dim=1)
        filter_shape = (1, -1, 1, 1) if isinstance(self.conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
        bias = shift if self.conv.bias is None else torch.addcmul(shift, scale, self.conv.bias)
        return weight * scale.view(filter_shape), bias


class ConvLayer(NormalizedConv):
    """A strided convolution with optional normalisation and ReLU."""

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
        reflect_padding = kernel // 2
        conv = nn.Conv2d(channels, filters, kernel, stride, padding=reflect_padding if padding == "zero" else 0)
        activation = nn.ReLU() if relu else nn.Identity()
        super().__init__(conv, normalization(norm, filters), activation, reflected=padding == "reflection")
        self.reflect_padding = reflect_padding
        self.same_zero = padding == "same-zero"

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        if reflected:
            x = reflect(x, self.reflect_padding, self.reflect_padding, self.reflect_padding, self.reflect_padding)
        elif self.same_zero:
            x = pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])
        return F.conv2d(x, weight, bias, self.conv.stride, self.conv.padding)


class ResidualBlock(TransformLayer):
    """Two 3×3 convolutions added to their input, no ReLU after the sum (Gross and Wilber 2016).

    With valid convolutions the input is cropped by the two pixels on each side that they remove.
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

    def forward_and_measure(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, first = self.first.forward_and_measure(x)
        change, second = self.second.forward_and_measure(features)
        return x + change, torch.cat([first, second], dim=2)


class UpsampleLayer(NormalizedConv):
    """Nearest-neighbour enlargement by two, then a 3×3 convolution, normalisation and ReLU.

    It avoids the checkerboard artefacts of the paper's transposed convolution (Odena et al. 2016).
    """

    conv: nn.Conv2d

    def __init__(self, channels: int, filters: int, *, padding: Padding, norm: Norm) -> None:
        conv, reflected = nn.Conv2d(channels, filters, 3), padding == "reflection"
        super().__init__(conv, normalization(norm, filters), nn.ReLU(), reflected=reflected)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.conv2d(reflect(enlarged, 1, 1, 1, 1) if reflected else enlarged, weight, bias)


class TransposedLayer(NormalizedConv):
    """The paper's convolution of stride 1/2: transposed 3×3 convolution, normalisation, ReLU; side × 2."""

    conv: nn.ConvTranspose2d

    def __init__(self, channels: int, filters: int, *, norm: Norm, padding: Padding = "zero") -> None:
        conv = nn.ConvTranspose2d(channels, filters, 3, stride=2, padding=1, output_padding=1)
        super().__init__(conv, normalization(norm, filters), nn.ReLU(), reflected=False)
        self.same_zero = padding == "same-zero"

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:  # noqa: ARG002
        if self.same_zero:  # the transpose of padding at the far end: cropped there
            return F.conv_transpose2d(x, weight, bias, stride=2)[..., :-1, :-1]
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)


class ShuffleLayer(TransformLayer):
    """Pixel shuffle (Shi et al. 2016): factor² channels become one, with factor × the side."""

    channels = 0

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, affine: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return F.pixel_shuffle(x, self.factor)

    def forward_and_measure(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(x, self.factor), x.new_empty(x.shape[0], 2, 0, dtype=torch.float32)


def per_channel(values: Triple) -> Tensor:
    """A number for each of three channels, to be added to planes: (3, 1, 1), or (1, 1, 1) where they are equal.

    What is the same for all channels torch adds to planes in channels_last in a tenth of the time.
    """
    different = values if len(set(values)) > 1 else values[:1]
    return torch.tensor(different)[:, None, None]


class ScaledTanh(nn.Module):
    """The paper's output: 0.5 + 150/255 · tanh, a little more than [0, 1], which keeps tanh out of saturation.

    With a skip connection the centre is 0 instead of 0.5; other projects have one for each channel.
    """

    def __init__(self, centre: Triple = (0.5, 0.5, 0.5)) -> None:
        super().__init__()
        self.centre: Tensor
        self.register_buffer("centre", per_channel(centre), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.centre + 150 / 255 * torch.tanh(x)
