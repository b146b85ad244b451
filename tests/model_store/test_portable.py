from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from model_store import ModelStore
from model_store.errors import UnknownCheckpoint
from model_store.portable import MANIFEST_TENSOR, manifest_of, pack, weights_of
from tests.model_store.exporters.exports import stored, stored_compact
from tests.networks import network


def test_manifest_is_found_in_the_tensors_alone(tmp_path: Path) -> None:
    model = stored(tmp_path, network("c3s1-4,c3s1-3"))
    weights = ModelStore(tmp_path).tensors(model.manifest)
    tensors = load(pack(model.manifest, weights, {}))
    assert manifest_of(tensors, {}) == model.manifest
    assert weights_of(tensors).keys() == weights.keys()


def test_networks_of_others_have_the_tensors_that_others_expect(tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    model = stored_compact(tmp_path)
    weights = ModelStore(tmp_path / "models").tensors(model.manifest)
    tensors = load(pack(model.manifest, weights, {}))
    assert tensors.keys() == weights.keys()
    assert manifest_of(tensors, {}) is None
    assert manifest_of(tensors, {"pastiche.manifest": model.manifest.model_dump_json()}) == model.manifest


@pytest.mark.parametrize("text", [b"{", b"{}", b"\xff"])
def test_damaged_manifests_are_refused(text: bytes) -> None:
    tensors = {MANIFEST_TENSOR: torch.tensor(list(text), dtype=torch.uint8)}
    with pytest.raises(UnknownCheckpoint, match="its manifest is of another version of Pastiche, or damaged"):
        manifest_of(tensors, {})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64], ids=str)
def test_a_manifest_that_was_converted_with_the_weights_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    model = stored(tmp_path, network("c3s1-4,c3s1-3"))
    tensors = load(pack(model.manifest, ModelStore(tmp_path).tensors(model.manifest), {}))
    converted = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    assert manifest_of(converted, {}) == model.manifest


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(10**12),
        torch.zeros(2, 3, dtype=torch.uint8),
        torch.tensor([-1]),
        torch.tensor([256.0]),
        torch.tensor([0.5]),
        torch.tensor([torch.nan]),
        torch.tensor([2.0]).to(torch.float8_e4m3fn),
    ],
)
def test_what_is_no_text_is_no_manifest(tensor: torch.Tensor) -> None:
    with pytest.raises(UnknownCheckpoint, match="its manifest is"):
        manifest_of({MANIFEST_TENSOR: tensor}, {})
