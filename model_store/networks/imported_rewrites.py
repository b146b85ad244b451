"""Exact rewrites of networks of other projects, for speed and for memory; the results differ by rounding only.

- A convolution that is trained as several ones beside and after one another is folded into the one that they make
  together (re-parameterisation, as in SPAN, arXiv 2311.12770). Its package folds it in every call.
- Layers at the end of a network that enlarge features hold many times the values of those before them. They run in
  bands of rows, so that the memory of a plane is that of its small features.
"""

from collections.abc import Iterable
from math import ceil
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn

BAND_PIXELS = 2**15
"""Input pixels of a band. Of ESRGAN they have 2**26 values in its widest layer, as many as a tile has by default."""

_POINTWISE = (nn.LeakyReLU, nn.ReLU, nn.PReLU, nn.Identity)


class _Folded(Protocol):
    """A convolution in its parts, which are folded into another one in every call."""

    eval_conv: nn.Conv2d

    def update_params(self) -> None:
        """Fold the parts into `eval_conv`."""


class BandedLayers(nn.Module):
    """Enlarging layers in bands of rows: (N, C, H, W) to (N, C', H × scale, W × scale)."""

    def __init__(self, layers: nn.Sequential) -> None:
        """`layers`: those of which `_is_enlarging` holds."""
        super().__init__()
        self.layers = layers
        self.scale, reach = 1, 0.0
        for layer in layers:
            if isinstance(layer, nn.Upsample):
                assert isinstance(layer.scale_factor, int | float)
                self.scale *= int(layer.scale_factor)
            elif isinstance(layer, nn.Conv2d):
                reach += layer.kernel_size[0] // 2 / self.scale
        self.margin = ceil(reach)
        """Rows of the input above and below a band on which its output depends."""

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        rows = max(1, BAND_PIXELS // width)
        if rows >= height:
            whole: Tensor = self.layers(features)
            return whole
        return torch.cat([self._band(features, top, min(top + rows, height)) for top in range(0, height, rows)], -2)

    def _band(self, features: Tensor, top: int, bottom: int) -> Tensor:
        begin, end = max(0, top - self.margin), min(features.shape[-2], bottom + self.margin)
        enlarged: Tensor = self.layers(features[..., begin:end, :])
        return enlarged[..., (top - begin) * self.scale : (bottom - begin) * self.scale, :]


def rewrite_for_inference(model: nn.Module) -> None:
    """Make all rewrites, in place, of a network in fp32."""
    fold_convolutions(model)
    _band_enlarging_layers(model)


def fold_convolutions(model: nn.Module) -> None:
    """Replace, in place, convolutions that their package folds in every call by what they are folded to."""
    for parent, name, child in _children(model):
        if _is_folded_in_every_call(child):
            child.update_params()
            setattr(parent, name, child.eval_conv)


def lay_out_channels_last(model: nn.Module) -> None:
    """Lay out the weights in channels_last, in place. `Module.to` does that only where none has five dimensions."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def register_constants(model: nn.Module) -> None:
    """Make buffers, in place, of tensors that layers keep as mere attributes: a graph cannot hold those."""
    for layer in model.modules():
        for name, value in list(vars(layer).items()):
            if isinstance(value, Tensor):
                delattr(layer, name)
                layer.register_buffer(name, value, persistent=False)


def unbanded_layers(model: nn.Module) -> list[nn.Module]:
    """The layers without parts of their own whose planes are whole."""
    banded = {part for layer in model.modules() if isinstance(layer, BandedLayers) for part in layer.modules()}
    return [layer for layer in model.modules() if not list(layer.children()) and layer not in banded]


def _band_enlarging_layers(model: nn.Module) -> None:
    for parent, name, child in _children(model):
        if isinstance(child, nn.Sequential) and (first := _first_enlarging(child)):
            setattr(parent, name, nn.Sequential(*child[:first], BandedLayers(child[first:])))


def _children(model: nn.Module) -> Iterable[tuple[nn.Module, str, nn.Module]]:
    """Every part of the model, with what it is a part of and its name there."""
    return [(parent, name, child) for parent in list(model.modules()) for name, child in parent.named_children()]


def _is_folded_in_every_call(module: object) -> TypeGuard[_Folded]:
    """As spandrel's Conv3XC is, which can have an activation of its own."""
    return (
        isinstance(getattr(module, "eval_conv", None), nn.Conv2d)
        and callable(getattr(module, "update_params", None))
        and not getattr(module, "has_relu", True)
    )


def _first_enlarging(layers: nn.Sequential) -> int | None:
    """The position of the first enlargement, where all layers from there on are known; None where there is none."""
    positions = [position for position, layer in enumerate(layers) if isinstance(layer, nn.Upsample)]
    if not positions or not all(_is_enlarging(layer) for layer in layers[positions[0] :]):
        return None
    return positions[0]


def _is_enlarging(layer: nn.Module) -> bool:
    """Nearest enlargement by an integer, a convolution that keeps the size by zeros, or a function of single values."""
    if isinstance(layer, nn.Upsample):
        factor = layer.scale_factor
        return layer.mode == "nearest" and isinstance(factor, int | float) and float(factor).is_integer()
    if isinstance(layer, nn.Conv2d):
        side = layer.kernel_size[0]
        plain = (layer.stride, layer.dilation, layer.padding_mode) == ((1, 1), (1, 1), "zeros")
        return plain and side % 2 == 1 and layer.kernel_size == (side, side) and layer.padding == (side // 2, side // 2)
    return isinstance(layer, _POINTWISE)
