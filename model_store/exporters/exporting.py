"""A version of a store written as a file or folder of another format, whole or not at all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from model_store.durable import create_file, create_folder, try_writing
from model_store.errors import ExportFailed, StoreError
from model_store.exporters.hub_folder import hub_files
from model_store.exporters.onnx_file import onnx_bytes
from model_store.exporters.pt2_file import pt2_bytes
from model_store.exporters.safetensors_file import safetensors_bytes
from model_store.manifest import Manifest
from model_store.store import ModelStore, StoredModel

Format = Literal["onnx", "pt2", "safetensors", "hub"]

GRAPHS: Mapping[Format, Callable[[StoredModel], bytes]] = {"onnx": onnx_bytes, "pt2": pt2_bytes}
"""The formats that hold a graph, which is run before it is written."""

FORMATS: Mapping[Format, str] = {
    "onnx": "one graph for any size, for onnxruntime and others",
    "pt2": "the same for torch alone",
    "safetensors": "the weights with their manifest, for `import` and spandrel",
    "hub": "a folder for the Hugging Face Hub",
}


def export_model(store: ModelStore, name: str, version: int | None, target: Format, path: Path) -> Manifest:
    """Write a version, by default the current one, to a `path` at which there is nothing yet.

    Raises StoreError where there is something, where it cannot be written, or where the version cannot be loaded;
    ExportFailed where the network has no such form, MissingExtra where a library is missing.
    """
    if path.exists() or path.is_symlink():
        raise ExportFailed(f"{path} exists already: remove it, or say another --out")
    if not path.parent.is_dir():
        raise ExportFailed(f"{path.parent} is no folder; --out says where {name} is written")
    try:
        try_writing(path.parent)
        model = store.load(name, version)
        _write(store, model, target, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    return model.manifest


def _write(store: ModelStore, model: StoredModel, target: Format, path: Path) -> None:
    if target in GRAPHS:
        create_file(path, _graph(model, target))
        return
    manifest = model.manifest
    tensors = store.tensors(manifest)
    if target == "safetensors":
        create_file(path, safetensors_bytes(manifest, tensors))
        return
    preview = store.preview(manifest.name, manifest.version)
    create_folder(path, hub_files(model, tensors, preview.read_bytes() if preview else None))


def _graph(model: StoredModel, target: Format) -> bytes:
    try:
        return GRAPHS[target](model)
    except ExportFailed as error:
        others = " and ".join(f"--to {name}" for name in FORMATS if name not in GRAPHS)
        instead = ", or try --to onnx" if target != "onnx" else ""
        raise ExportFailed(f"{error}; {others} take any network{instead}") from error
