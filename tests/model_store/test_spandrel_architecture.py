from pathlib import Path
from typing import Any

import pytest
import torch

from model_store import ModelStore
from model_store.errors import UnknownCheckpoint
from model_store.exporters.exporting import export_model
from model_store.portable import MANIFEST_TENSOR
from tests.foreign import compact_file
from tests.model_store.exporters.exports import SMALL, stored
from tests.networks import network, pictures

spandrel = pytest.importorskip("spandrel", reason="the extra import is not installed")


@pytest.fixture
def registry() -> Any:
    from model_store.spandrel_architecture import register  # noqa: PLC0415 # it needs the extra

    copied = spandrel.MAIN_REGISTRY.copy()
    register(copied)
    register(copied)
    return copied


@pytest.mark.parametrize(("architecture", "scale"), [(SMALL, 1), ("c3s1-4,R4,c3s1-12,p2", 2)])
@pytest.mark.parametrize("norm", ["batch", "thumbnail"])
def test_the_loader_of_spandrel_gives_our_answers(
    tmp_path: Path, registry: Any, architecture: str, scale: int, norm: str
) -> None:
    model = stored(tmp_path, network(architecture, norm=norm, skip=scale > 1))
    export_model(ModelStore(tmp_path), "wave", None, "safetensors", tmp_path / "wave.safetensors")
    loaded = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / "wave.safetensors")
    assert isinstance(loaded, spandrel.ImageModelDescriptor)
    assert (loaded.scale, loaded.architecture.id, loaded.tags) == (scale, "Pastiche", ["wave@1"])
    assert loaded.tiling.name == ("DISCOURAGED" if norm == "thumbnail" else "SUPPORTED")
    image = pictures(1, 35, 50)
    with torch.no_grad():
        expected = model.network(image)
    assert loaded(image).equal(expected)
    for precision in (torch.bfloat16, torch.float16):
        half = loaded.to(precision)(image.to(precision))
        assert half.dtype == precision
        assert -10 * torch.log10((half.float() - expected).square().mean()) > 40


def test_files_of_others_are_loaded_as_before(tmp_path: Path, registry: Any) -> None:
    loaded = spandrel.ModelLoader(registry=registry).load_from_file(compact_file(tmp_path))
    assert loaded.architecture.id == "Compact"


def test_a_manifest_that_cannot_be_read_is_an_error(registry: Any) -> None:
    damaged = {MANIFEST_TENSOR: torch.zeros(3, dtype=torch.uint8), "layers.0.conv.weight": torch.zeros(1)}
    with pytest.raises(UnknownCheckpoint, match="or damaged"):
        spandrel.ModelLoader(registry=registry).load_from_state_dict(damaged)
