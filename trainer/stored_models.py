"""Stored networks: found by name, and used as teachers."""

from model_store import SHIPPED_STORE, Location, ModelStore, StoredModel, open_store
from model_store.manifest import parse_reference
from trainer.errors import TrainerError


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


def find_style(store: Location, reference: str, option: str) -> StoredModel:
    """As `find_model`; raises TrainerError, with the option that named it, for a network that enlarges."""
    stored = find_model(store, reference)
    if stored.manifest.scale != 1:
        raise TrainerError(f"{option} {reference} enlarges ×{stored.manifest.scale}; a style network is wanted")
    return stored


def find_upscaler(store: Location, reference: str, option: str) -> StoredModel:
    """As `find_model`; raises TrainerError, with the option that named it, for a network that does not enlarge."""
    stored = find_model(store, reference)
    if stored.manifest.scale == 1:
        raise TrainerError(
            f"{option} {reference} does not enlarge; one that is measured beside bicubic enlargement does"
        )
    return stored


def load_teacher(store: Location, reference: str) -> StoredModel:
    """A style network as by `find_style`, in evaluation mode."""
    stored = find_style(store, reference, "--teacher")
    stored.network.eval().requires_grad_(False)
    return stored


def _parse_reference(text: str) -> tuple[str, int | None]:
    """NAME or NAME@VERSION → the name and the version, None for the current one. Raises TrainerError otherwise."""
    reference = parse_reference(text)
    if reference is None:
        raise TrainerError(f"{text[:80]!r} names no model; expected NAME or NAME@VERSION, such as great-wave@2")
    return reference
