"""Networks that exist already: found by name, and taken over as the beginning of a run."""

from pathlib import Path

from model_store import SHIPPED_STORE, ModelStore, StoredModel, TransformNetwork
from trainer.config import TrainConfig
from trainer.errors import TrainerError


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

    Batch, instance and thumbnail normalisation may stand for one another: they share scales and shifts, and batch
    normalisation's statistics, which the others lack, are measured anew.
    """
    stored = find_model(config.store, config.warm_start).network
    differing = [
        f"{field} {getattr(stored.spec, field)}"
        for field in ("architecture", "output", "skip")
        if getattr(stored.spec, field) != getattr(network.spec, field)
    ]
    if differing:
        raise TrainerError(f"--warm-start {config.warm_start} is another network; it has {', '.join(differing)}")
    network.load_state_dict(stored.state_dict(), strict=False)


def _reference(text: str) -> tuple[str, int | None]:
    """NAME or NAME@VERSION → name and version, None for the current one; raises TrainerError for anything else."""
    name, at, version = text.partition("@")
    if not name or (at and not version.isdecimal()):
        raise TrainerError(f"{text!r} names no model; expected NAME or NAME@VERSION, such as great-wave@2")
    return name, int(version) if version else None
