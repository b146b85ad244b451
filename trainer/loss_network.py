"""The loss network φ: the convolutional layers of a trained classifier, with fixed weights (paper §3.2).

The default is the paper's, VGG-16, with torchvision's weights. Others are read from safetensors files; the layout
(layers, widths, padding, preprocessing) is recognised by a key of the file or given by an option.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from model_store import home_expanded
from model_store.error_messages import reason_of
from model_store.importers.prefixes import without_prefixes
from trainer.errors import LossNetworkError

Weights = Mapping[str, Tensor]

LEAST_SIDE = 3
"""Side of features, in positions, that every convolution and pooling can take."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Layout:
    """A kind of loss network: how to build it from weights, and the layers that the losses use by default.

    `build` returns the modules in order and the position of each named layer; it raises KeyError, RuntimeError or
    ValueError for weights that do not fit. `identifying_key` is a key that only files of this layout have.
    `style_layers` maps layers to weights. `mean` and `std` are subtracted from and divided into RGB in [0, 1].
    """

    name: str
    build: Callable[[Weights], tuple[nn.Sequential, dict[str, int]]]
    identifying_key: str
    content_layer: str
    style_layers: Mapping[str, float]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class LossNetwork(nn.Module):
    """Maps RGB images (N, 3, H, W) in [0, 1] to features by layer name; its weights have no gradients."""

    def __init__(self, layout: Layout, weights: Weights, source: str) -> None:
        """`source` describes the weights in manifests and fingerprints.

        Raises LossNetworkError for weights that do not fit.
        """
        super().__init__()
        self.layout = layout
        self.source = source
        self.features, self.index = _build(layout, weights)
        self.mean = nn.Buffer(torch.tensor(layout.mean)[:, None, None])
        self.std = nn.Buffer(torch.tensor(layout.std)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """The features (N, C, H', W') at `layers`; nothing after the last of them is computed.

        Raises LossNetworkError for a layer that does not exist, and for images that are too small for one.
        """
        wanted = {self.position(layer): layer for layer in layers}
        x = (image - self.mean) / self.std
        found = {}
        for position, module in enumerate(self.features[: max(wanted) + 1]):
            x = self._features_after(module, x, image)
            if position in wanted:
                found[wanted[position]] = x
        return found

    def _features_after(self, module: nn.Module, features: Tensor, image: Tensor) -> Tensor:
        try:
            result: Tensor = module(features)
        except RuntimeError as error:
            if min(features.shape[-2:]) >= LEAST_SIDE:
                raise
            height, width = image.shape[-2:]
            reason = f"{width}×{height} pixels are too few for the layers of {self.layout.name} that are asked for"
            raise LossNetworkError(reason) from error
        return result

    def position(self, layer: str) -> int:
        """Of a layer among the modules of `features`. Raises LossNetworkError for one that does not exist."""
        if layer not in self.index:
            known = ", ".join(self.index)
            raise LossNetworkError(f"{self.layout.name} has no layer {layer!r}; it has: {known}")
        return self.index[layer]


def _build(layout: Layout, weights: Weights) -> tuple[nn.Sequential, dict[str, int]]:
    try:
        return layout.build(weights)
    except KeyError as error:
        raise LossNetworkError(f"the weights do not fit the layout {layout.name}: no {error}") from error
    except (RuntimeError, ValueError) as error:
        raise LossNetworkError(f"the weights do not fit the layout {layout.name}: {error}") from error


Pooling = Literal["max", "average"]


def load_loss_network(source: str, layout: str = "auto", pooling: Pooling = "max") -> LossNetwork:
    """The loss network of a source, in evaluation mode on the CPU.

    `source` is "torchvision" (VGG-16, downloaded once), "random" (VGG-16 with random weights, the same every time, for
    measuring speed) or the path of a safetensors file. `pooling` "average" replaces the paper's max pooling as Gatys et
    al. 2016 do; max pooling gives a checkerboard the features of its brighter half. Raises LossNetworkError where the
    weights cannot be read or downloaded, or do not fit.
    """
    network = _load(source, layout)
    return _with_average_pooling(network) if pooling == "average" else network


def _with_average_pooling(network: LossNetwork) -> LossNetwork:
    """The same network, changed in place, with average pooling instead of max pooling."""
    network.source = f"{network.source}, average pooling"
    for position, module in enumerate(network.features):
        if isinstance(module, nn.MaxPool2d):
            network.features[position] = nn.AvgPool2d(module.kernel_size, module.stride, ceil_mode=module.ceil_mode)
    return network


def _load(source: str, layout: str) -> LossNetwork:
    if source == "torchvision":
        return LossNetwork(LAYOUTS["vgg16"], _torchvision_weights(), f"vgg16, {_TORCHVISION}")
    if source == "random":
        return LossNetwork(LAYOUTS["vgg16"], _random_vgg16(), "vgg16, random weights")
    try:
        path = home_expanded(Path(source))
        path.open("rb").close()  # which says of a folder that it is one
        with safe_open(path, "pt") as file:  # before all is read: it refuses at once what has no end, such as a device
            metadata = file.metadata() or {}
        content = path.read_bytes()
        state = without_prefixes(parse_safetensors(content))
    except (OSError, ValueError, SafetensorError) as error:
        raise LossNetworkError(
            f"{source or 'an empty name'}: {reason_of(error)}; --loss-network takes torchvision or a safetensors file"
        ) from error
    chosen = _choose_layout(state, metadata.get("layout", ""), layout, source)
    return LossNetwork(chosen, state, f"{chosen.name}, sha256:{hashlib.sha256(content).hexdigest()}")


_TORCHVISION = torchvision.models.VGG16_Weights.IMAGENET1K_V1


def _torchvision_weights() -> Weights:
    try:
        weights: Weights = _TORCHVISION.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        advice = "--loss-network takes a safetensors file of VGG-16, VGG-19 or SqueezeNet (docs/training.md)"
        raise LossNetworkError(f"torchvision's VGG-16 could not be downloaded: {reason_of(error)}; {advice}") from error
    return weights


def _random_vgg16(seed: int = 0) -> Weights:
    """VGG-16's weights from He et al. 2015, which keeps the variance from layer to layer; biases are 0."""
    with torch.device("meta"):
        shapes = torchvision.models.vgg16(weights=None).features.state_dict()
    generator = torch.Generator().manual_seed(seed)
    return {f"features.{key}": _he(value.shape, generator) for key, value in shapes.items()}


def _he(shape: torch.Size, generator: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))


def _choose_layout(weights: Weights, stated: str, asked: str, source: str) -> Layout:
    """The layout `asked` for; for "auto" the one `stated` in the file's metadata, or else recognised by a key."""
    known = ", ".join(LAYOUTS)
    if asked != "auto" and asked not in LAYOUTS:
        raise LossNetworkError(f"no layout {asked!r}; there are: auto, {known}")
    named = LAYOUTS.get(asked) or LAYOUTS.get(stated)
    if named:
        return named
    for layout in LAYOUTS.values():
        if layout.identifying_key in weights:
            return layout
    raise LossNetworkError(f"{source}: its layout is not recognised; --loss-layout takes: {known}")


def _vgg16(weights: Weights) -> tuple[nn.Sequential, dict[str, int]]:
    with torch.device("meta"):
        features = torchvision.models.vgg16(weights=None).features
    _load_features(features, weights)
    return _without_inplace(features), _relu_names(features)


def _vgg11(weights: Weights) -> tuple[nn.Sequential, dict[str, int]]:
    """The first layers of VGG-11, up to the last that has weights."""
    with torch.device("meta"):
        features = torchvision.models.vgg11(weights=None).features
    last = max((int(key.split(".")[1]) for key in weights if key.startswith("features.")), default=0)
    features = features[: last + 2]
    _load_features(features, weights)
    return _without_inplace(features), _relu_names(features)


def _squeezenet(weights: Weights) -> tuple[nn.Sequential, dict[str, int]]:
    with torch.device("meta"):
        features = torchvision.models.squeezenet1_1(weights=None).features
    _load_features(features, weights)
    fires = [i for i, module in enumerate(features) if type(module).__name__ == "Fire"]
    return _without_inplace(features), {"relu1": 1} | {f"fire{n}": i for n, i in enumerate(fires, start=2)}


_VGG19_BLOCKS = ((1, 2), (2, 2), (3, 4), (4, 4), (5, 1))


def _vgg19_distilled(weights: Weights) -> tuple[nn.Sequential, dict[str, int]]:
    """VGG-19 up to conv5_1 in any width (Wang et al. 2020), keys conv11 … conv51; conv0 (1×1) is the preprocessing."""
    channels = 3
    modules: list[nn.Module] = [_conv(weights, "conv0", channels, padding=0)]
    names = {}
    for block, count in _VGG19_BLOCKS:
        if block > 1:
            modules.append(nn.MaxPool2d(2))
        for layer in range(1, count + 1):
            conv = _conv(weights, f"conv{block}{layer}", channels, padding=1)
            modules += [conv, nn.ReLU()]
            channels = conv.out_channels
            names[f"relu{block}_{layer}"] = len(modules) - 1
    return nn.Sequential(*modules), names


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "vgg16",
            _vgg16,
            identifying_key="features.28.weight",
            content_layer="relu3_3",
            style_layers={"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0, "relu4_3": 1.0},
        ),
        Layout(
            "vgg11",
            _vgg11,
            identifying_key="features.8.weight",
            content_layer="relu3_2",
            style_layers={"relu1_1": 0.3, "relu2_1": 1.0, "relu3_1": 1.0, "relu3_2": 1.0},
        ),
        Layout(
            "vgg19-distilled",
            _vgg19_distilled,
            identifying_key="conv11.weight",
            content_layer="relu3_3",
            style_layers={"relu1_2": 0.3, "relu2_2": 1.0, "relu3_3": 1.0, "relu4_1": 1.0},
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
        Layout(
            "squeezenet1_1",
            _squeezenet,
            identifying_key="features.12.squeeze.weight",
            content_layer="fire5",
            style_layers={"relu1": 0.3, "fire3": 1.0, "fire5": 1.0, "fire7": 1.0},
        ),
    )
}


def _load_features(features: nn.Sequential, weights: Weights) -> None:
    """Load the weights whose keys begin with `features.`; those of the classifier's head are ignored."""
    prefix = "features."
    state = {key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)}
    features.load_state_dict(state, assign=True)


def _conv(weights: Weights, name: str, channels: int, padding: int) -> nn.Conv2d:
    """A convolution 3×3, or where nothing is padded 1×1, of so many channels to as many as its weights have."""
    weight, bias = weights[f"{name}.weight"].float(), weights[f"{name}.bias"].float()
    conv = nn.Conv2d(
        channels, bias.numel(), 1 + 2 * padding, padding=padding, padding_mode="reflect" if padding else "zeros"
    )
    conv.load_state_dict({"weight": weight, "bias": bias})
    return conv


def _without_inplace(features: nn.Sequential) -> nn.Sequential:
    """Make ReLUs write to a new tensor: in place they would change the features that are returned."""
    for module in features.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return features


def _relu_names(features: nn.Sequential) -> dict[str, int]:
    """Positions of VGG's ReLUs by name, relu1_1 … relu5_3: the block, which pooling ends, and the number in it."""
    names, block, layer = {}, 1, 0
    for position, module in enumerate(features):
        if isinstance(module, nn.MaxPool2d):
            block, layer = block + 1, 0
        elif isinstance(module, nn.ReLU):
            layer += 1
            names[f"relu{block}_{layer}"] = position
    return names
