"""The average of the weights of several stored networks, which were trained from the same weights.

Such networks lie in one valley of the objective, where the average of their weights can be better than each of them
(Wortsman et al. 2022, Model soups).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_store import Location, NetworkSpec, StoredModel, TransformNetwork
from trainer.errors import TrainerError
from trainer.stored_models import find_model

FORM = "NAME or NAME@VERSION, or several to average, such as wave@2,wave@3, with shares: wave@2:3,wave@3:1"


@dataclass(frozen=True)
class StoredWeights:
    """The weights of a stored network, or the average of those of several."""

    label: str
    """name@version of each network, with its share where there are several."""
    spec: NetworkSpec
    values: Mapping[str, Tensor]


def stored_weights(store: Location, text: str) -> StoredWeights:
    """The weights for --warm-start, from `store` or from the shipped networks.

    A network with fewer channels of noise than another one counts as one that ignores them. Raises TrainerError where
    the text has another form than FORM, a name is unknown, a network is not one of ours, or several differ otherwise in
    more than their weights.
    """
    shares = parse_shares(text)
    found = [find_model(store, reference) for reference in shares]
    networks = [_own_network(stored) for stored in found]
    labels = [stored.manifest.label for stored in found]
    _require_same_spec(networks, labels)
    most = max(networks, key=lambda network: network.spec.noise_channels)
    weights = [with_channels(network.state_dict(), most.state_dict()) for network in networks]
    values = averaged(weights, [*shares.values()])
    if len(labels) > 1:
        labels = [f"{label}:{share:.4g}" for label, share in zip(labels, shares.values(), strict=True)]
    return StoredWeights(",".join(labels), most.spec, values)


def parse_shares(text: str) -> dict[str, float]:
    """`wave@2:3,wave@3` → each network's share of the average; they sum to 1. Raises TrainerError."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        reference, _, number = part.strip().partition(":")
        weight = _number(number or "1")
        if not reference or reference in weights or weight is None:
            raise TrainerError(
                f"--warm-start {text}: {part.strip() or 'an empty name'} is not understood; it is {FORM}"
            )
        weights[reference] = weight
    return {reference: weight / sum(weights.values()) for reference, weight in weights.items()}


def with_channels(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights, with zeros for the input channels that only those of the same name in `like` have."""
    return {name: _with_zeros(value, like[name]) for name, value in weights.items()}


def _with_zeros(value: Tensor, like: Tensor) -> Tensor:
    if value.shape == like.shape:
        return value
    return torch.cat([value, value.new_zeros(like[:, value.shape[1] :].shape)], dim=1)


def averaged(weights: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """The average by shares of equally named weights; what is no floating number is that of the first."""
    if len(weights) == 1:
        return dict(weights[0])
    return {
        name: _average([each[name] for each in weights], shares) if first.is_floating_point() else first
        for name, first in weights[0].items()
    }


def _average(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = torch.stack([tensor.double() * share for tensor, share in zip(tensors, shares, strict=True)]).sum(0)
    return total.to(tensors[0].dtype)


def _number(text: str) -> float | None:
    """A positive number; None where the text is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _own_network(stored: StoredModel) -> TransformNetwork:
    if not isinstance(stored.network, TransformNetwork):
        name, architecture = stored.manifest.label, stored.network.spec.architecture
        raise TrainerError(f"--warm-start {name} is an imported {architecture}, not one of ours")
    return stored.network


def _without_noise(spec: NetworkSpec) -> NetworkSpec:
    return spec.model_copy(update={"noise_channels": 0})


def _require_same_spec(networks: Sequence[TransformNetwork], labels: Sequence[str]) -> None:
    for network, label in zip(networks, labels, strict=True):
        if _without_noise(network.spec) != _without_noise(networks[0].spec):
            raise TrainerError(f"--warm-start: {label} differs from {labels[0]} in more than its weights: no average")
