import errno
import tempfile
from pathlib import Path

import pytest
import torch

from model_store import ModelStore, StoredModel, UnknownModel
from model_store.errors import ExportFailed, StoreError
from model_store.exporters.exporting import FORMATS, export_model
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from tests.model_store.exporters.exports import SMALL, stored, stored_compact
from tests.networks import network


def test_safetensors_come_back_as_the_same_version(tmp_path: Path) -> None:
    before = stored(tmp_path / "one", network(SMALL, norm="thumbnail"))
    export_model(ModelStore(tmp_path / "one"), "wave", 1, "safetensors", tmp_path / "wave.safetensors")
    other = ModelStore(tmp_path / "other")
    manifest = import_checkpoint(other, tmp_path / "wave.safetensors", Labels("billow"))
    kept = {"name", "created"}
    assert manifest.model_dump(exclude=kept) == before.manifest.model_dump(exclude=kept)
    assert other.load("billow").golden.output.equal(before.golden.output)


def test_networks_of_others_come_back_too(tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    before, store = stored_compact(tmp_path), ModelStore(tmp_path / "models")
    export_model(store, "compact", None, "safetensors", tmp_path / "exported.safetensors")
    manifest = import_checkpoint(store, tmp_path / "exported.safetensors", Labels("compact", author="somebody else"))
    assert manifest.version == 2
    assert (manifest.digest, manifest.network) == (before.manifest.digest, before.manifest.network)
    assert manifest.origin
    assert before.manifest.origin
    assert manifest.origin == before.manifest.origin.model_copy(update={"author": "somebody else"})


def test_hub_is_a_folder_and_pt2_a_file(tmp_path: Path) -> None:
    stored(tmp_path / "models", network("c3s1-4,c3s1-3"))
    store, target = ModelStore(tmp_path / "models"), tmp_path / "out"
    target.mkdir()
    export_model(store, "wave", None, "hub", target / "wave")
    export_model(store, "wave", None, "pt2", target / "wave.pt2")
    assert (target / "wave" / "model.safetensors").is_file()
    assert torch.export.load(target / "wave.pt2").module()(torch.rand(1, 3, 4, 6)).shape == (1, 3, 4, 6)
    assert sorted(path.name for path in target.iterdir()) == ["wave", "wave.pt2"]


def test_a_refused_graph_names_the_formats_that_take_any_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: object) -> bytes:
        raise ExportFailed(f"{model} is no graph")

    stored(tmp_path / "models", network("c3s1-4,c3s1-3"))
    monkeypatch.setattr("model_store.exporters.exporting.GRAPHS", {"pt2": refuse, "onnx": refuse})
    with pytest.raises(
        ExportFailed, match="no graph; --to safetensors and --to hub take any network, or try --to onnx"
    ):
        export_model(ModelStore(tmp_path / "models"), "wave", None, "pt2", tmp_path / "wave.pt2")
    with pytest.raises(ExportFailed, match=r"--to hub take any network$"):
        export_model(ModelStore(tmp_path / "models"), "wave", None, "onnx", tmp_path / "wave.onnx")


@pytest.mark.parametrize("target", FORMATS)
def test_nothing_is_written_over_what_is_there(tmp_path: Path, target: str) -> None:
    stored(tmp_path / "models", network("c3s1-4,c3s1-3"))
    store = ModelStore(tmp_path / "models")
    (tmp_path / "mine").write_text("keep me")
    with pytest.raises(ExportFailed, match="mine exists already: remove it"):
        export_model(store, "wave", None, target, tmp_path / "mine")  # type: ignore[arg-type]
    assert (tmp_path / "mine").read_text() == "keep me"
    with pytest.raises(ExportFailed, match="absent is no folder; --out says"):
        export_model(store, "wave", None, target, tmp_path / "absent" / "wave")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", FORMATS)
def test_a_folder_that_cannot_be_written_is_found_before_the_network_is_loaded(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    with pytest.raises(StoreError, match="wave cannot be written: Read-only file system"):
        export_model(ModelStore(tmp_path), "no-such-model", None, target, tmp_path / "wave")  # type: ignore[arg-type]


class BusyFolder(ModelStore):
    """While a version of it is read, somebody else writes a file beside it."""

    def load(self, name: str, version: int | None = None) -> StoredModel:
        (self.root.parent / "wave").write_text("keep me")
        return super().load(name, version)


@pytest.mark.parametrize("target", FORMATS)
def test_nothing_is_written_over_what_came_meanwhile(tmp_path: Path, target: str) -> None:
    stored(tmp_path / "models", network("c3s1-3"))
    with pytest.raises(StoreError, match="wave cannot be written"):
        export_model(BusyFolder(tmp_path / "models"), "wave", None, target, tmp_path / "wave")  # type: ignore[arg-type]
    assert (tmp_path / "wave").read_text() == "keep me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "wave"]


def test_a_folder_next_to_other_files_leaves_them_alone(tmp_path: Path) -> None:
    stored(tmp_path / "models", network("c3s1-4,c3s1-3"))
    settings = tmp_path / ".editor.settings"  # named like a temporary folder that was left behind
    settings.touch()
    export_model(ModelStore(tmp_path / "models"), "wave", None, "hub", tmp_path / "wave")
    assert settings.exists()


def test_unknown_models_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    stored(tmp_path / "models", network("c3s1-4,c3s1-3"))
    store = ModelStore(tmp_path / "models")
    with pytest.raises(UnknownModel, match="no version 7 of 'wave'"):
        export_model(store, "wave", 7, "safetensors", tmp_path / "out")
    (tmp_path / "models/wave/1/weights.safetensors").write_bytes(b"")
    with pytest.raises(StoreError, match=r"wave@1: weights\.safetensors is"):
        export_model(store, "wave", None, "safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
