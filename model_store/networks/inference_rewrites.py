"""Exact rewrites that make a trained network fast; the results differ by rounding only.

- Batch normalisation in evaluation mode is an affine map and is folded into the convolution before it. In fp32 so is
  thumbnail normalisation by the statistics of one image, again in every call.
- Nearest-neighbour enlargement and a 3×3 convolution become one 4×4 transposed convolution of stride 2, whose taps are
  sums of the 3×3 taps: 2.25 times fewer operations.
- A convolution to three channels leaves most of a vector unit idle. A stride-2 convolution with a kernel one pixel
  larger computes a 2×2 block of output pixels as twelve channels, and a pixel shuffle puts them in place.
"""

import copy
from typing import TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model_store.networks.imported import ImportedNetwork
from model_store.networks.layers import (
    ConvLayer,
    NormalizedConv,
    ResidualBlock,
    ScaledTanh,
    ThumbnailNorm,
    TransposedLayer,
    UpsampleLayer,
    reflect,
)
from model_store.networks.network import Network
from model_store.networks.transform import TransformNetwork

_Layer = TypeVar("_Layer", ConvLayer, UpsampleLayer, TransposedLayer)

_MIN_BLOCKED_KERNEL = 5
"""Smallest kernel side that gains from the blocked form; with a 3×3 kernel the work would nearly double."""


@overload
def for_inference(network: TransformNetwork, precision: torch.dtype = torch.float32) -> TransformNetwork: ...


@overload
def for_inference(network: Network, precision: torch.dtype = torch.float32) -> Network: ...


def for_inference(network: Network, precision: torch.dtype = torch.float32) -> Network:
    """A rewritten copy of `network` for inference, with the same contract, channels_last, weights in `precision`.

    In float32 it equals the network in evaluation mode to 1e-5. Input and output are float32 in every precision. If
    the features of an image overflow, its output is not finite. An imported network is copied as it is; see
    `ImportedNetwork.for_inference`.
    """
    if isinstance(network, TransformNetwork):
        return _rewritten(network, precision)
    if isinstance(network, ImportedNetwork):
        return network.for_inference(precision)
    raise TypeError(f"{type(network).__name__} is no network that can be rewritten")


def _rewritten(network: TransformNetwork, precision: torch.dtype) -> TransformNetwork:
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    fast.layers = nn.Sequential(*(_rewrite(layer) for layer in fast.layers))
    fast.layers.to(precision).to(memory_format=torch.channels_last)
    if isinstance(fast.output, ScaledTanh):
        fast.output = OverflowPreservingTanh(fast.spec.tanh_centre).to(fast.output.centre.device)
    for module in fast.layers.modules():
        if isinstance(module, ThumbnailNorm):
            module.float()  # its statistics are computed in fp32
        if isinstance(module, NormalizedConv):
            module.fold_affine = precision == torch.float32
    return fast


def _rewrite(layer: nn.Module) -> nn.Module:
    match layer:
        case ConvLayer():
            folded = _fold_norm(layer)
            return BlockedConv(folded) if _benefits_from_blocking(folded.conv) else folded
        case ResidualBlock():
            layer.first, layer.second = _fold_norm(layer.first), _fold_norm(layer.second)
            return layer
        case UpsampleLayer():
            return FusedUpsample(_fold_norm(layer))
        case TransposedLayer():
            return _fold_norm(layer)
    return layer


def _fold_norm(layer: _Layer) -> _Layer:
    """Fold batch normalisation into the convolution and make the ReLU work in place."""
    if isinstance(layer.norm, nn.BatchNorm2d):
        transposed = isinstance(layer.conv, nn.ConvTranspose2d)
        layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm, transpose=transposed)
        layer.norm = nn.Identity()
    if isinstance(layer.relu, nn.ReLU):
        layer.relu = nn.ReLU(inplace=True)
    return layer


def _benefits_from_blocking(conv: nn.Conv2d) -> bool:
    return conv.out_channels == 3 and conv.stride == (1, 1) and conv.kernel_size[0] >= _MIN_BLOCKED_KERNEL


class OverflowPreservingTanh(ScaledTanh):
    """`ScaledTanh` that gives NaN for an image with any non-finite input, where tanh would map an overflow to white."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum((1, 2, 3), keepdim=True)  # total - total is 0, or NaN if any value is not finite
        return torch.tanh(x).mul_(150 / 255).add_(self.centre + (total - total))


class FusedUpsample(NormalizedConv):
    """`UpsampleLayer` as one 4×4 transposed convolution of stride 2.

    Per axis, taps (w0, w1, w2) on the doubled pixels become (w2, w1 + w2, w0 + w1, w0) on the original ones. Reflecting
    a doubled plane by one pixel repeats its border pixel, so in the reflecting form the input is replicated instead.
    """

    conv: nn.ConvTranspose2d

    def __init__(self, layer: UpsampleLayer) -> None:
        weight = layer.conv.weight.double()
        fold = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
        weight = torch.einsum("ai,bj,ocij->coab", fold, fold, weight)
        conv = nn.ConvTranspose2d(layer.conv.in_channels, layer.conv.out_channels, 4, 2, device=weight.device)
        conv.weight = nn.Parameter(weight.float(), requires_grad=False)
        conv.bias = layer.conv.bias
        super().__init__(conv, layer.norm, layer.relu, reflected=layer.reflected)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        if reflected:
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=3 if reflected else 2)


class BlockedConv(NormalizedConv):
    """A stride-1 `ConvLayer` to few channels, computed in 2×2 blocks of output pixels."""

    conv: nn.Conv2d

    def __init__(self, layer: ConvLayer) -> None:
        kernel = layer.conv.kernel_size[0]
        shifted = [F.pad(layer.conv.weight, (dx, 1 - dx, dy, 1 - dy)) for dy in (0, 1) for dx in (0, 1)]
        weight = torch.stack(shifted, 1).flatten(0, 1)
        conv = nn.Conv2d(layer.conv.in_channels, len(weight), kernel + 1, stride=2, device=weight.device)
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = nn.Parameter(_bias_or_zeros(layer.conv).repeat_interleave(4), requires_grad=False)
        super().__init__(conv, layer.norm, layer.relu, reflected=layer.reflected)
        self.reflect_padding = layer.reflect_padding
        self.zero_padding = int(layer.conv.padding[0])

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        if reflected:
            x = reflect(x, self.reflect_padding, self.reflect_padding, self.reflect_padding, self.reflect_padding)
        height, width = (side + 2 * self.zero_padding - self.conv.kernel_size[0] + 2 for side in x.shape[-2:])
        before = self.zero_padding
        padded = F.pad(x, (before, before + width % 2, before, before + height % 2))  # to an even number of outputs
        return F.pixel_shuffle(F.conv2d(padded, weight, bias, stride=2), 2)[..., :height, :width]


def _bias_or_zeros(conv: nn.Conv2d) -> Tensor:
    return conv.bias if conv.bias is not None else conv.weight.new_zeros(conv.out_channels)
