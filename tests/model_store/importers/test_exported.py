from pathlib import Path

import pytest
import torch

from model_store import CorruptModel, ModelStore, StoreError
from model_store.errors import UnknownCheckpoint
from model_store.importers.checkpoint import Checkpoint
from model_store.importers.exported import publish_exported
from model_store.importers.labels import Labels
from tests.model_store.exporters.exports import stored
from tests.networks import network


def test_labels_count_more_than_the_manifest(tmp_path: Path) -> None:
    model, store = stored(tmp_path, network("c3s1-4,c3s1-3")), ModelStore(tmp_path)
    checkpoint = Checkpoint("wave.safetensors", "sha256:0", store.tensors(model.manifest))
    published = publish_exported(store, checkpoint, model.manifest, Labels("billow", license="CC0-1.0"))
    assert (published.name, published.title, published.license) == ("billow", "The Wave", "CC0-1.0")
    assert published.digest == model.manifest.digest


@pytest.mark.parametrize(
    ("labels", "option"),
    [
        (Labels("billow", author="somebody"), "--author"),
        (Labels("billow", source="https://example.org"), "--source"),
        (Labels("billow", output="tanh"), "--output"),
    ],
)
def test_labels_that_would_be_lost_are_refused(tmp_path: Path, labels: Labels, option: str) -> None:
    model, store = stored(tmp_path, network("c3s1-4,c3s1-3")), ModelStore(tmp_path)
    checkpoint = Checkpoint("wave.safetensors", "sha256:0", store.tensors(model.manifest))
    with pytest.raises(UnknownCheckpoint, match=f"^wave.safetensors: {option} .*wave@1"):
        publish_exported(store, checkpoint, model.manifest, labels)
    assert store.names() == ["wave"]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model, store = stored(tmp_path, network("c3s1-4,c3s1-3")), ModelStore(tmp_path)
    checkpoint = Checkpoint("wave.safetensors", "sha256:0", {"layers.0.conv.weight": torch.zeros(1)})
    with pytest.raises(CorruptModel, match=r"wave\.safetensors: weights do not fit"):
        publish_exported(store, checkpoint, model.manifest, Labels("billow"))
    assert store.names() == ["wave"]


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    model, store = stored(tmp_path, network("c3s1-4,c3s1-3")), ModelStore(tmp_path)
    weights = store.tensors(model.manifest)
    bias = weights["layers.0.conv.bias"]
    for key, changed, error in (
        ("layers.0.conv.bias", bias.nextafter(torch.ones_like(bias)), UnknownCheckpoint),
        ("layers.0.conv.bias", bias.float(), UnknownCheckpoint),
        ("layers.0.conv.bias", bias * torch.nan, StoreError),
    ):
        checkpoint = Checkpoint("wave.safetensors", "sha256:0", weights | {key: changed})
        with pytest.raises(error, match=r"wave\.safetensors: "):
            publish_exported(store, checkpoint, model.manifest, Labels("billow"))
    assert store.names() == ["wave"]
