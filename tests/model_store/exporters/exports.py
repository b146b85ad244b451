"""Stored models of the tests of exporters."""

from pathlib import Path

from model_store import Draft, ModelStore, StoredModel, TransformNetwork
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from tests.foreign import compact_file

SMALL = "c3s1-4,d4,R4,u4,c3s1-3"
"""A network with each kind of layer that the styles have, and few channels."""

TINY = "c3s1-3,d3,u3,c3s1-3"
"""The fewest layers with which sides are halved and doubled: torch takes a second to trace each."""


def stored(root: Path, network: TransformNetwork, name: str = "wave") -> StoredModel:
    """The network as the store gives it back."""
    draft = Draft(name=name, task="style" if network.scale == 1 else "super-resolution", title="The Wave")
    ModelStore(root).publish(network, draft)
    return ModelStore(root).load(name)


def stored_compact(root: Path) -> StoredModel:
    """A network of Real-ESRGAN's layout, imported."""
    root.mkdir(exist_ok=True)
    labels = Labels("compact", license="BSD-3-Clause", author="its author", source="https://example.org")
    import_checkpoint(ModelStore(root / "models"), compact_file(root), labels)
    return ModelStore(root / "models").load("compact")
