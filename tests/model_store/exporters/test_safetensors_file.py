from pathlib import Path

from safetensors import safe_open

from model_store import ModelStore
from model_store.exporters.safetensors_file import safetensors_bytes
from tests.model_store.exporters.exports import SMALL, stored
from tests.networks import network


def test_weights_are_those_of_the_store_and_the_header_has_the_facts(tmp_path: Path) -> None:
    model = stored(tmp_path, network(SMALL))
    tensors = ModelStore(tmp_path).tensors(model.manifest)
    path = tmp_path / "wave.safetensors"
    path.write_bytes(safetensors_bytes(model.manifest, tensors))
    with safe_open(path, "pt") as file:
        assert file.metadata()["digest"] == model.manifest.digest
        assert file.metadata()["license"] == "Apache-2.0"
        assert all(file.get_tensor(key).equal(tensor) for key, tensor in tensors.items())
