"""Exact rewrites that make a trained network fast; the results differ by rounding only.

- Batch normalisation in evaluation mode is an affine map and is folded into the convolution before it. In fp32 so is
  thumbnail normalisation by the statistics of one image, again in every call.
- Normalisation by statistics of the same features takes away what the bias before it has added: it is left out, which
  spares a GPU a pass over the features.
- Nearest-neighbour enlargement and a 3×3 convolution become one 4×4 transposed convolution of stride 2, whose taps are
  sums of the 3×3 taps: 2.25 times fewer operations.
- A convolution to three channels leaves most of a vector unit idle. A stride-2 convolution with a kernel one pixel
  larger computes a 2×2 block of output pixels as twelve channels, and a pixel shuffle puts them in place.

The layers of large kernels from or to few channels can be computed in other forms as well (`LayerForm`). Which is the
fastest depends on the device: whoever runs the network measures that, and says so to `for_inference`.
"""

import copy
from collections.abc import Mapping
from typing import TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model_store.networks.imported import ImportedNetwork
from model_store.networks.layers import (
    ConvLayer,
    InstanceNorm,
    NormalizedConv,
    ResidualBlock,
    ScaledTanh,
    ThumbnailNorm,
    TransposedLayer,
    UpsampleLayer,
)
from model_store.networks.network import Network
from model_store.networks.thin_layers import LayerForm, in_form, is_thin, possible_forms, usual_form
from model_store.networks.transform import TransformNetwork

_Layer = TypeVar("_Layer", ConvLayer, UpsampleLayer, TransposedLayer)
_Module = TypeVar("_Module", bound=nn.Module)


@overload
def for_inference(
    network: TransformNetwork, precision: torch.dtype = torch.float32, forms: Mapping[int, LayerForm] | None = None
) -> TransformNetwork: ...


@overload
def for_inference(
    network: Network, precision: torch.dtype = torch.float32, forms: Mapping[int, LayerForm] | None = None
) -> Network: ...


def for_inference(
    network: Network, precision: torch.dtype = torch.float32, forms: Mapping[int, LayerForm] | None = None
) -> Network:
    """A rewritten copy of `network` for inference, with the same contract, channels_last, weights in `precision`.

    In float32 it equals the network in evaluation mode to 1e-5. Input and output are float32 in every precision. If
    the features of an image overflow, its output is not finite. For an imported one see `imported_rewrites`.
    Statistics of thumbnails are those of such copies, in any precision: the network's own are other ones.
    `forms`: of thin layers, by their positions, where they are not the usual ones.
    """
    if isinstance(network, TransformNetwork):
        return _rewritten(network, precision, forms or {})
    if isinstance(network, ImportedNetwork):
        return network.for_inference(precision)
    raise TypeError(f"{type(network).__name__} is no network that can be rewritten")


def thin_layers(network: Network, precision: torch.dtype) -> dict[int, dict[LayerForm, nn.Module]]:
    """By the positions of the thin layers: the layer in each of its forms, in `precision`, the usual form first.

    They are to be timed. Without thumbnail normalisation, whose statistics are given to them where they are served.
    """
    if not isinstance(network, TransformNetwork):
        return {}
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    folded = {
        position: _fold_norm(layer)
        for position, layer in enumerate(copied.layers)
        if isinstance(layer, ConvLayer) and is_thin(layer)
    }
    return {position: _in_all_forms(layer, precision) for position, layer in folded.items()}


def _in_all_forms(layer: ConvLayer, precision: torch.dtype) -> dict[LayerForm, nn.Module]:
    usual = usual_form(layer)
    forms = [usual, *(form for form in possible_forms(layer) if form != usual)]
    return {form: _prepare(_without_statistics(in_form(layer, form)), precision) for form in forms}


def _without_statistics(layer: NormalizedConv) -> NormalizedConv:
    if isinstance(layer.norm, ThumbnailNorm):
        layer.norm = nn.Identity()
    return layer


def _rewritten(network: TransformNetwork, precision: torch.dtype, forms: Mapping[int, LayerForm]) -> TransformNetwork:
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    fast.layers = nn.Sequential(*(_rewrite(layer, forms.get(i)) for i, layer in enumerate(fast.layers)))
    _prepare(fast.layers, precision)
    fast.variant = ",".join(f"{position}:{form}" for position, form in sorted(forms.items()))
    if isinstance(fast.output, ScaledTanh):
        fast.output = OverflowPreservingTanh(fast.spec.tanh_centre).to(fast.output.centre.device)
    return fast


def _prepare(layers: _Module, precision: torch.dtype) -> _Module:
    """Weights in `precision` and channels_last; the statistics of thumbnail normalisation stay in fp32."""
    layers.to(precision).to(memory_format=torch.channels_last)
    for module in layers.modules():
        if isinstance(module, ThumbnailNorm):
            module.float()
        if isinstance(module, NormalizedConv):
            module.fold_affine = precision == torch.float32
    return layers


def _rewrite(layer: nn.Module, form: LayerForm | None) -> nn.Module:
    match layer:
        case ConvLayer():
            folded = _fold_norm(layer)
            return in_form(folded, form or usual_form(folded)) if is_thin(folded) else folded
        case ResidualBlock():
            layer.first, layer.second = _fold_norm(layer.first), _fold_norm(layer.second)
            return layer
        case UpsampleLayer():
            return FusedUpsample(_fold_norm(layer))
        case TransposedLayer():
            return _fold_norm(layer)
    return layer


def _fold_norm(layer: _Layer) -> _Layer:
    """Fold batch normalisation into the convolution, drop a bias without effect, and make the ReLU work in place."""
    if isinstance(layer.norm, nn.BatchNorm2d):
        transposed = isinstance(layer.conv, nn.ConvTranspose2d)
        layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm, transpose=transposed)
        layer.norm = nn.Identity()
    if isinstance(layer.norm, InstanceNorm):
        layer.conv.bias = None
    if isinstance(layer.relu, nn.ReLU):
        layer.relu = nn.ReLU(inplace=True)
    return layer


class OverflowPreservingTanh(ScaledTanh):
    """`ScaledTanh` that gives NaN for an image with any non-finite input, where tanh would map an overflow to white.

    tanh(x) is computed as 2 · sigmoid(2x) - 1, which takes torch a quarter of the time on a CPU. The input is
    overwritten.
    """

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum((1, 2, 3), keepdim=True)  # total - total is 0, or NaN if any value is not finite
        return x.mul_(2).sigmoid_().mul_(300 / 255).add_(self.centre - 150 / 255 + (total - total))


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
