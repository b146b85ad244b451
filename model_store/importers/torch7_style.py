"""The layout of jcjohnson/fast-neural-style: the network of the paper in Torch7's layers, in order.

https://github.com/jcjohnson/fast-neural-style

Its layers are read one by one, and become the tensors of a layout with keys of our own.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from model_store.errors import UnknownCheckpoint
from model_store.importers.style_layout import Pixels, Step, StyleLayout
from model_store.importers.torch7 import Torch7Object

_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
"""RGB of the mean of ImageNet in Caffe's networks, which is subtracted before the network and added after it."""

JCJOHNSON_BATCH = StyleLayout(
    name="jcjohnson/fast-neural-style, batch normalisation",
    down=(Step("down1", "down1.norm", 9), Step("down2", "down2.norm"), Step("down3", "down3.norm")),
    blocks=("block{}.first", "block{}.second", "block{}.first.norm", "block{}.second.norm"),
    first_block=1,
    up=(Step("up1", "up1.norm", transposed=True), Step("up2", "up2.norm", transposed=True)),
    last=Step("last", "", 9),
    pixels=Pixels(
        scale=(255.0, 255.0, 255.0),
        shift=(-255 * _MEAN[0], -255 * _MEAN[1], -255 * _MEAN[2]),
        bgr=True,
    ),
    form="paper",
    norm="batch",
    tanh_centre=_MEAN,
    ignored="",
    assumptions={
        "pixels": "BGR, 0 to 255, less the mean of Caffe's networks",
        "padding": "40 pixels of reflection, then zeros, none in residual blocks",
        "output": "150 · tanh, and the mean",
    },
)

JCJOHNSON_INSTANCE = replace(
    JCJOHNSON_BATCH, name="jcjohnson/fast-neural-style, instance normalisation", norm="instance"
)

_PASSED = {"nn.ReLU", "nn.Identity", "nn.Tanh", "nn.TotalVariation", "nn.ShaveImage", "nn.CAddTable"}
"""Layers without weights whose place is known."""

_NORMS = {"nn.SpatialBatchNormalization", "nn.InstanceNormalization"}


def from_torch7(content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint, with the keys of the layouts above. Raises UnknownCheckpoint for other layers."""
    model = content.get("model") if isinstance(content, dict) else content
    if not isinstance(model, Torch7Object):
        raise UnknownCheckpoint("it holds no network under 'model'")
    layers = list(_flattened(model))
    _check_layers(layers)
    tensors: dict[str, Tensor] = {}
    names = _names(sum(_is_convolution(layer) for layer in layers))
    name = ""
    for layer in layers:
        if _is_convolution(layer):
            name = next(names)
            tensors |= {f"{name}.{key}": tensor for key, tensor in _weights(layer, ("weight", "bias"))}
        elif layer.kind in _NORMS:
            found = _weights(layer, ("weight", "bias", "running_mean", "running_var"))
            tensors |= {f"{name}.norm.{key}": tensor for key, tensor in found}
    return tensors


def _flattened(layer: Torch7Object) -> Iterator[Torch7Object]:
    """The layers in the order in which they run."""
    if layer.kind in ("nn.Sequential", "nn.ConcatTable"):
        modules = layer.fields.get("modules")
        if not isinstance(modules, dict) or not all(isinstance(each, Torch7Object) for each in modules.values()):
            raise UnknownCheckpoint(f"a {layer.kind} holds other things than layers")
        for _, each in sorted(modules.items(), key=lambda entry: str(entry[0]).zfill(9)):
            yield from _flattened(each)
    else:
        yield layer


def _check_layers(layers: list[Torch7Object]) -> None:
    """What the layout takes for granted, and tensors do not show. Raises UnknownCheckpoint where it is otherwise."""
    first = layers[0] if layers else Torch7Object("nothing", {})
    if first.kind != "nn.SpatialReflectionPadding":
        raise UnknownCheckpoint(
            f"it begins with {first.kind}; networks with padding_type reflect-start can be imported"
        )
    blocks, reflected = sum(layer.kind == "nn.CAddTable" for layer in layers), first.fields.get("pad_l", 0)
    if reflected != 8 * blocks:
        raise UnknownCheckpoint(f"it reflects {reflected} pixels, where {blocks} residual blocks take {8 * blocks}")
    known = {*_PASSED, *_NORMS, "nn.SpatialConvolution", "nn.SpatialFullConvolution", "nn.MulConstant"}
    unknown = [layer.kind for layer in layers[1:] if layer.kind not in known]
    if unknown:
        raise UnknownCheckpoint(f"it has a {unknown[0]}; the paper's network has {', '.join(sorted(known))}")
    factors = [layer.fields.get("constant_scalar") for layer in layers if layer.kind == "nn.MulConstant"]
    if factors != [150]:
        raise UnknownCheckpoint(f"its output is multiplied by {factors}, where the layout has 150")


def _is_convolution(layer: Torch7Object) -> bool:
    return layer.kind in ("nn.SpatialConvolution", "nn.SpatialFullConvolution")


def _names(count: int) -> Iterator[str]:
    blocks = [f"block{number}.{part}" for number in range(1, (count - 6) // 2 + 1) for part in ("first", "second")]
    yield from ["down1", "down2", "down3", *blocks, "up1", "up2", "last"]
    yield from (f"further{number}" for number in range(count))


def _weights(layer: Torch7Object, keys: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    for key in keys:
        tensor = layer.fields.get(key)
        if isinstance(tensor, Tensor):
            yield key, tensor
