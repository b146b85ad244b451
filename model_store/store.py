"""Versions of networks in a folder: published whole or not at all, never edited, verified when read.

<root>/<name>/current                     the number of the promoted version
<root>/<name>/<version>/manifest.json     see Manifest
                        weights.safetensors    convolutions in fp16, normalisation in fp32
                        golden.safetensors     an input and its output, see Golden
                        preview.png            for people, where there is one
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor, nn

from model_store.errors import CorruptModel, UnknownModel
from model_store.golden import Golden
from model_store.manifest import Draft, Manifest, valid_name
from model_store.networks.layers import InstanceNorm
from model_store.networks.transform import TransformNetwork

SHIPPED_STORE = Path(__file__).parent / "checkpoints"
"""The networks that come with the package."""

_MANIFEST, _WEIGHTS, _GOLDEN, _PREVIEW, _CURRENT = (
    "manifest.json",
    "weights.safetensors",
    "golden.safetensors",
    "preview.png",
    "current",
)


@dataclass(frozen=True)
class StoredModel:
    """A verified version: its manifest, its network (fp32, evaluation mode) and its golden pair."""

    manifest: Manifest
    network: TransformNetwork
    golden: Golden


class ModelStore:
    """Named, versioned networks under `root`. Readers and one publisher per name may work at the same time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Every model that has a version, sorted; none where `root` does not exist."""
        if not self.root.is_dir():
            return []
        return sorted(folder.name for folder in self.root.iterdir() if self.versions(folder.name))

    def versions(self, name: str) -> list[int]:
        """The published versions of a model, ascending; none for an unknown name."""
        folder = self.root / name
        if not valid_name(name) or not folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir())

    def current(self, name: str) -> int:
        """The promoted version; raises UnknownModel where there is none."""
        versions = self.versions(name)
        if not versions:
            raise UnknownModel(f"no model {name!r} in {self.root}; there are: {', '.join(self.names()) or 'none'}")
        pointer = self.root / name / _CURRENT
        chosen = pointer.read_text().strip() if pointer.is_file() else str(versions[-1])
        if not chosen.isdecimal() or int(chosen) not in versions:
            raise CorruptModel(f"{name}: {_CURRENT} says {chosen!r}, but there are the versions {versions}")
        return int(chosen)

    def manifest(self, name: str, version: int | None = None) -> Manifest:
        """The manifest of a version, by default of the current one."""
        folder = self._folder(name, version)
        try:
            manifest = Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise CorruptModel(f"{name}@{folder.name}: unreadable {_MANIFEST}: {_reason(error)}") from error
        if (manifest.name, str(manifest.version)) != (name, folder.name):
            raise CorruptModel(f"{name}@{folder.name}: {_MANIFEST} describes {manifest.label}")
        return manifest

    def preview(self, name: str, version: int | None = None) -> Path | None:
        """The preview picture of a version, None where it has none."""
        path = self._folder(name, version) / _PREVIEW
        return path if path.is_file() else None

    def load(self, name: str, version: int | None = None) -> StoredModel:
        """A verified version, by default the current one: digests and the names of all weights are checked."""
        manifest = self.manifest(name, version)
        folder = self._folder(name, manifest.version)
        network = TransformNetwork(manifest.network)
        tensors = _tensors(folder / _WEIGHTS, manifest.digest, manifest.label)
        try:
            network.load_state_dict(tensors, strict=True)
        except RuntimeError as error:
            raise CorruptModel(f"{manifest.label}: weights do not fit {manifest.network}: {error}") from error
        golden = _tensors(folder / _GOLDEN, manifest.golden_digest, manifest.label)
        return StoredModel(manifest, network.eval(), Golden(golden["input"], golden["output"]))

    def verify(self, name: str, version: int | None = None) -> Manifest:
        """Load a version and recompute its golden output here in fp32; raises StoreError where it differs."""
        model = self.load(name, version)
        with torch.inference_mode():
            model.golden.check(model.network(model.golden.batch()))
        return model.manifest

    def publish(
        self,
        network: TransformNetwork,
        draft: Draft,
        preview: bytes | None = None,
        picture: Tensor | None = None,
    ) -> Manifest:
        """Store `network` as the next version of `draft.name` and make it current.

        `preview` is a PNG file; `picture`, uint8 (H, W, 3), becomes the golden input. What is stored is what later
        readers get: the golden output and the manifest are made from the reloaded weights. A reader sees the version
        complete or not at all.
        """
        version = max(self.versions(draft.name), default=0) + 1
        weights = format_safetensors(_storable(network))
        stored = TransformNetwork(network.spec)
        stored.load_state_dict(parse_safetensors(weights))
        golden = Golden.of(stored, picture)
        pair = format_safetensors({"input": golden.input.contiguous(), "output": golden.output.contiguous()})
        manifest = _manifest(draft, version, stored, _digest(weights), _digest(pair))
        files = {_WEIGHTS: weights, _GOLDEN: pair, _MANIFEST: manifest.model_dump_json(indent=2).encode()}
        self._write(draft.name, version, files if preview is None else files | {_PREVIEW: preview})
        self.promote(draft.name, version)
        return manifest

    def promote(self, name: str, version: int) -> None:
        """Make an existing version the current one."""
        folder = self._folder(name, version).parent
        with _replacing(folder / _CURRENT) as temporary:
            temporary.write_text(f"{version}\n")

    def rollback(self, name: str) -> int:
        """Make the version before the current one current and return it."""
        current = self.current(name)
        earlier = [version for version in self.versions(name) if version < current]
        if not earlier:
            raise UnknownModel(f"{name}@{current} is the oldest version; there is none to roll back to")
        self.promote(name, earlier[-1])
        return earlier[-1]

    def _folder(self, name: str, version: int | None) -> Path:
        chosen = self.current(name) if version is None else version
        if chosen not in self.versions(name):
            raise UnknownModel(f"no version {chosen} of {name!r}; there are: {self.versions(name)}")
        return self.root / name / str(chosen)

    def _write(self, name: str, version: int, files: dict[str, bytes]) -> None:
        """All files or none: written to a sibling, synced, renamed."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=folder))
        try:
            temporary.chmod(0o755)
            for file, content in files.items():
                _write_synced(temporary / file, content)
            _sync(temporary)
            temporary.rename(folder / str(version))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync(folder)


def _manifest(draft: Draft, version: int, network: TransformNetwork, digest: str, golden_digest: str) -> Manifest:
    spec = network.spec
    return Manifest(
        **dict(draft),
        version=version,
        network=spec,
        scale=spec.scale,
        tileable=spec.tileable,
        halo=spec.geometry.margin,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        digest=digest,
        golden_digest=golden_digest,
        created=datetime.now(UTC),
    )


def _storable(network: nn.Module) -> dict[str, Tensor]:
    """The state as it is stored: fp16, but normalisation layers as they are."""
    normalization = {
        name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d | InstanceNorm)
    }
    state = network.state_dict().items()
    return {
        key: (value if key.rpartition(".")[0] in normalization else value.half()).detach().cpu().contiguous()
        for key, value in state
    }


def _tensors(path: Path, digest: str, label: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        if _digest(content) != digest:
            raise CorruptModel(f"{label}: {path.name} is {_digest(content)}, its manifest says {digest}")
        return parse_safetensors(content)
    except (OSError, SafetensorError) as error:
        raise CorruptModel(f"{label}: unreadable {path.name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong, without the path, which is not for the clients of a service."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
