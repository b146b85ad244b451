"""Networks that exist already: found by name, and taken over as the beginning of a run."""

import logging
from itertools import takewhile
from pathlib import Path

from model_store import SHIPPED_STORE, Architecture, ModelStore, NetworkSpec, StoredModel, TransformNetwork
from trainer.config import TrainConfig
from trainer.errors import TrainerError

log = logging.getLogger(__name__)


def find_model(store: Path, reference: str) -> StoredModel:
    """NAME or NAME@VERSION in a store, or else among the shipped networks."""
    name, version = _reference(reference)
    own, shipped = ModelStore(store), ModelStore(SHIPPED_STORE)
    if not own.versions(name) and not shipped.versions(name):
        known = ", ".join(sorted({*own.names(), *shipped.names()}))
        raise TrainerError(f"no model {name!r} in {store} or among the shipped ones; there are: {known}")
    return (own if own.versions(name) else shipped).load(name, version)


def warm_start(network: TransformNetwork, config: TrainConfig) -> None:
    """Take over a network's weights, from the run's store or from those shipped.

    Of another architecture the layers up to the first that differs are taken, so that an ×8 network can begin as an ×4
    one of its width. Batch, instance and thumbnail normalisation may stand for one another: they share scales and
    shifts, and batch normalisation's statistics, which the others lack, are measured anew. Raises TrainerError where
    not even the first layer agrees, or where the outputs mean something else.
    """
    stored = find_model(config.store, config.warm_start).network
    agreeing = _agreeing(stored.spec, network.spec)
    fields = ("output", "skip") if agreeing else ("architecture",)
    differing = [
        f"{field} {getattr(stored.spec, field)}"
        for field in fields
        if getattr(stored.spec, field) != getattr(network.spec, field)
    ]
    if differing:
        raise TrainerError(f"--warm-start {config.warm_start} is another network; it has {', '.join(differing)}")
    own = network.state_dict()
    taken = {key: value for key, value in stored.state_dict().items() if key in own and _layer(key) < agreeing}
    network.load_state_dict(own | taken)
    if agreeing < len(network.layers):
        text = "%d of %d layers begin as those of %s, the others anew: its --architecture is %s"
        log.warning(text, agreeing, len(network.layers), config.warm_start, stored.spec.architecture)


def style_teacher(store: Path, reference: str) -> StoredModel:
    """A style network that another learns from, as `find_model`; raises TrainerError where it enlarges."""
    stored = find_model(store, reference)
    if stored.manifest.scale != 1:
        raise TrainerError(f"--teacher {reference} enlarges ×{stored.manifest.scale}; a style network is wanted")
    stored.network.eval().requires_grad_(False)
    return stored


def _agreeing(one: NetworkSpec, other: NetworkSpec) -> int:
    """How many layers, from the first on, two networks have in common."""
    pairs = zip(
        Architecture.parse(one.architecture).layers, Architecture.parse(other.architecture).layers, strict=False
    )
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _layer(key: str) -> int:
    """The number of the layer that an entry of a network's state belongs to: layers.3.convolution.weight → 3."""
    return int(key.split(".")[1])


def _reference(text: str) -> tuple[str, int | None]:
    """NAME or NAME@VERSION → name and version, None for the current one; raises TrainerError for anything else."""
    name, at, version = text.partition("@")
    if not name or (at and not version.isdecimal()):
        raise TrainerError(f"{text!r} names no model; expected NAME or NAME@VERSION, such as great-wave@2")
    return name, int(version) if version else None
