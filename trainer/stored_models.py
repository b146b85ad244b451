"""Stored networks: found by name, used as teachers, and copied into the network of a new run."""

import logging
from itertools import takewhile

from model_store import (
    SHIPPED_STORE,
    Architecture,
    Location,
    ModelStore,
    NetworkSpec,
    StoredModel,
    TransformNetwork,
    open_store,
)
from trainer.config import TrainConfig
from trainer.errors import TrainerError

log = logging.getLogger(__name__)


def find_model(store: Location, reference: str) -> StoredModel:
    """NAME or NAME@VERSION from the store, or from the shipped networks where the store has no network of that name.

    Raises TrainerError for a malformed reference or an unknown name, StoreError for an unknown version.
    """
    name, version = _parse_reference(reference)
    own, shipped = open_store(store), ModelStore(SHIPPED_STORE)
    if not own.versions(name) and not shipped.versions(name):
        known = ", ".join(sorted({*own.names(), *shipped.names()}))
        raise TrainerError(f"no model {name!r} in {store} or among the shipped ones; there are: {known}")
    return (own if own.versions(name) else shipped).load(name, version)


def warm_start(network: TransformNetwork, config: TrainConfig) -> None:
    """Copy the weights of `config.warm_start`, from the run's store or from the shipped networks, into `network`.

    Where the architectures differ, the layers before the first difference are copied, and a warning is logged: an ×8
    network can begin with the layers of an ×4 one. Batch, instance and thumbnail normalisation are interchangeable, as
    they share scales and shifts; batch normalisation's statistics are copied where both networks have them. Raises
    TrainerError where the first layers differ, or the `output` or `skip` options do.
    """
    stored = find_model(config.store, config.warm_start).network
    if not isinstance(stored, TransformNetwork):
        raise TrainerError(
            f"--warm-start {config.warm_start} is an imported {stored.spec.architecture}, not one of ours"
        )
    common = _common_layers(stored.spec, network.spec)
    fields = ("output", "skip", "input_zero", "output_zero", "last_norm") if common else ("architecture",)
    differing = [
        f"{field} {getattr(stored.spec, field)}"
        for field in fields
        if getattr(stored.spec, field) != getattr(network.spec, field)
    ]
    if differing:
        raise TrainerError(f"--warm-start {config.warm_start} is another network; it has {', '.join(differing)}")
    own = network.state_dict()
    taken = {key: value for key, value in stored.state_dict().items() if key in own and _layer_index(key) < common}
    network.load_state_dict(own | taken)
    if common < len(network.layers):
        text = "%d of %d layers begin as those of %s, the others anew: its --architecture is %s"
        log.warning(text, common, len(network.layers), config.warm_start, stored.spec.architecture)


def load_teacher(store: Location, reference: str) -> StoredModel:
    """A style network as by `find_model`, in evaluation mode; raises TrainerError for one that enlarges."""
    stored = find_model(store, reference)
    if stored.manifest.scale != 1:
        raise TrainerError(f"--teacher {reference} enlarges ×{stored.manifest.scale}; a style network is wanted")
    stored.network.eval().requires_grad_(False)
    return stored


def _common_layers(one: NetworkSpec, other: NetworkSpec) -> int:
    """How many first layers of two networks are equal."""
    pairs = zip(
        Architecture.parse(one.architecture).layers, Architecture.parse(other.architecture).layers, strict=False
    )
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _layer_index(key: str) -> int:
    """The layer that a key of a state dict belongs to: layers.3.conv.weight → 3."""
    return int(key.split(".")[1])


def _parse_reference(text: str) -> tuple[str, int | None]:
    """NAME or NAME@VERSION → the name and the version, None for the current one. Raises TrainerError otherwise."""
    name, at, version = text.partition("@")
    if not name or (at and not version.isdecimal()):
        raise TrainerError(f"{text!r} names no model; expected NAME or NAME@VERSION, such as great-wave@2")
    return name, int(version) if version else None
