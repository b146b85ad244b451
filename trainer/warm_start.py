"""Warm starts: a run that begins with the weights of a stored network, which may be shallower or only begin alike."""

import logging
from collections.abc import Mapping
from itertools import takewhile

import torch
from torch import Tensor, nn

from model_store import Architecture, NetworkSpec, TransformNetwork
from model_store.networks.architecture import Layer, Residual
from model_store.networks.layers import ConvLayer, Norm, ResidualBlock
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.weight_average import StoredWeights, stored_weights

NOISE_SHARE = 0.1
"""Weights of channels of noise that a network has more than the stored one: so many times those of its colours. It is
disturbed by noise from its first step on; where it is not, it learns a weave before it learns to use noise."""

log = logging.getLogger(__name__)

OPTIONS = ("output", "skip", "input_zero", "output_zero", "last_norm")
"""Fields of a network's specification, beside its layers, that a warm start must keep."""


def warm_start(network: TransformNetwork, config: TrainConfig) -> str:
    """Copy the weights of `config.warm_start`, from the run's store or from the shipped networks, into `network`.

    Returns name@version of the stored network, or of each of several, whose average is taken (`stored_weights`).

    Where `network` has more residual blocks and no other layer differs, those begin as the identity: in the *same* form
    it begins as the stored network (Chen, Goodfellow and Shlens 2016, Net2Net, §2.3). Where the architectures differ
    otherwise, the layers before the first difference are copied: an ×8 network can begin with the layers of an ×4 one.
    A warning is logged in both cases. Batch, instance and thumbnail normalisation are interchangeable, as they share
    scales and shifts; batch normalisation's statistics are copied where both networks have them. Where only one of the
    two is normalised, a warning is logged. Raises TrainerError where the first layers differ, or the `output` or `skip`
    options do, and as `stored_weights`. Channels of noise that `network` has more begin with little effect, see
    NOISE_SHARE; what it has fewer is left out, with a warning.
    """
    stored = stored_weights(config.store, config.warm_start)
    origins, added = layer_origins(stored.spec, network.spec), added_blocks(stored.spec, network.spec)
    _check_options(network.spec, stored.spec, OPTIONS if origins else ("architecture",), config.warm_start)
    if stored.spec.noise_channels > network.spec.noise_channels:
        log.warning(
            "--warm-start %s sees noise: --noise-channels %d keeps it", stored.label, stored.spec.noise_channels
        )
    _copy(stored.values, network, origins)
    for index in added:
        _make_identity(network.layers[index])
    if anew := len(network.layers) - len(origins):
        beginning = "the others as the identity" if added else "the others anew"
        text = "%d of %d layers begin as those of %s, %s: its --architecture is %s"
        layers = len(network.layers)
        log.warning(text, layers - anew, layers, stored.label, beginning, stored.spec.architecture)
    _compare_normalisation(stored, network.spec.norm)
    return stored.label


def _compare_normalisation(stored: StoredWeights, own: Norm) -> None:
    """Log a warning where only the stored network, or only one's own, is normalised."""
    if stored.spec.norm != own and "none" in (stored.spec.norm, own):
        text = (
            "--warm-start %s has --norm %s: a network with --norm %s has its convolutions alone, and paints otherwise"
        )
        log.warning(text, stored.label, stored.spec.norm, own)


def layer_origins(stored: NetworkSpec, own: NetworkSpec) -> dict[int, int]:
    """For each layer of a network that begins as one of a stored network: that layer's index there."""
    first, added = _agreeing(_layers(stored), _layers(own)), len(added_blocks(stored, own))
    behind = range(first + added, len(_layers(own))) if added else range(0)
    return {index: index for index in range(first)} | {index: index - added for index in behind}


def added_blocks(stored: NetworkSpec, own: NetworkSpec) -> range:
    """The residual blocks that a network has more than a stored one; none where other layers differ as well."""
    here, there = _layers(own), _layers(stored)
    first = _agreeing(there, here)
    added = range(first, first + max(len(here) - len(there), 0))
    blocks = all(isinstance(here[index], Residual) for index in added)
    return added if blocks and here[added.stop :] == there[first:] else range(0)


def _layers(spec: NetworkSpec) -> tuple[Layer, ...]:
    return Architecture.parse(spec.architecture).layers


def _agreeing(one: tuple[Layer, ...], other: tuple[Layer, ...]) -> int:
    """How many first layers are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _check_options(own: NetworkSpec, stored: NetworkSpec, fields: tuple[str, ...], name: str) -> None:
    """Raise TrainerError where one of the fields differs."""
    differing = [
        f"{field} {getattr(stored, field)}" for field in fields if getattr(stored, field) != getattr(own, field)
    ]
    if differing:
        raise TrainerError(f"--warm-start {name} is another network; it has {', '.join(differing)}")


def _copy(weights: Mapping[str, Tensor], network: TransformNetwork, origins: dict[int, int]) -> None:
    """Copy stored weights, those of each layer from the layer that it begins as."""
    own = network.state_dict()
    taken = {
        key: _with_inputs(weights[stored], value)
        for key, value in own.items()
        if (stored := _stored_key(key, origins)) in weights
    }
    network.load_state_dict(own | taken)


def _with_inputs(stored: Tensor, own: Tensor) -> Tensor:
    """Stored weights for as many channels as the own layer has, with small random ones for noise that it has more."""
    if stored.dim() < 2 or stored.shape[1] >= own.shape[1]:
        return stored if stored.dim() < 2 else stored[:, : own.shape[1]]
    share = NOISE_SHARE * stored.std() / own.std()
    return torch.cat([stored, share * own[:, stored.shape[1] :]], dim=1)


def _stored_key(key: str, origins: dict[int, int]) -> str:
    """layers.9.conv.weight → layers.3.conv.weight where layer 9 begins as layer 3, "" where as none."""
    layers, index, rest = key.split(".", 2)
    return f"{layers}.{origins[int(index)]}.{rest}" if int(index) in origins else ""


def _make_identity(block: nn.Module) -> None:
    """Make a residual block add nothing: zeros in its last scale and shift, or in its last weights without those."""
    assert isinstance(block, ResidualBlock)
    last: ConvLayer = block.second
    layer = last.conv if isinstance(last.norm, nn.Identity) else last.norm
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
