"""A store of versioned networks in a folder: published atomically, never changed, verified when loaded.

<root>/<name>/current                     the number of the current version
<root>/<name>/<version>/manifest.json     see Manifest
                        weights.safetensors    convolutions in fp16, normalisation in fp32; imported ones as they were
                        golden.safetensors     an input and its output, see Golden
                        preview.png            optional
                        README.md              the model card, see model_card
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor, nn

from model_store.card import PREVIEW_FILE, model_card
from model_store.durable import replace_file, try_writing, write_folder
from model_store.error_messages import reason_of
from model_store.errors import CorruptModel, GoldenMismatch, MissingExtra, StoreError, UnknownCheckpoint, UnknownModel
from model_store.golden import Golden
from model_store.importers.super_resolution import build_imported
from model_store.links import require_inside
from model_store.manifest import Draft, Manifest
from model_store.networks.imported import ImportedSpec
from model_store.networks.layers import InstanceNorm
from model_store.networks.network import Network, Spec
from model_store.networks.transform import NetworkSpec, TransformNetwork
from model_store.published_versions import published_names, published_versions, valid_name

_MANIFEST, _WEIGHTS, _GOLDEN, _PREVIEW, _CARD, _CURRENT = (
    "manifest.json",
    "weights.safetensors",
    "golden.safetensors",
    PREVIEW_FILE,
    "README.md",
    "current",
)

STORED_FILES = (_WEIGHTS, _GOLDEN, _PREVIEW, _CARD, _MANIFEST)
"""The files of a version, of which only the preview and the card may be missing."""

_LOST_AND_FOUND = "lost+found"
"""A folder that file systems have at their root."""


@dataclass(frozen=True)
class StoredModel:
    """A verified version. The network is in fp32 and in evaluation mode."""

    manifest: Manifest
    network: Network
    golden: Golden

    def check(self, output: Tensor, precision: torch.dtype = torch.float32, *, faithful: bool = False) -> None:
        """Raise GoldenMismatch, naming the model, as `Golden.check` does."""
        try:
            self.golden.check(output, precision, faithful=faithful)
        except GoldenMismatch as error:
            raise GoldenMismatch(f"{self.manifest.label}: {error}") from error


class ModelStore:
    """Networks under `root`, by name and version. Several processes may read and publish at the same time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        """Where the store is, for people: the folder, or the URL of a store whose files are only cached in `root`."""

    def refresh(self) -> None:
        """Look for what others have published; a folder is read anyway. Raises StoreAway where that is impossible."""

    def prepare_writing(self) -> None:
        """Find out what there is before something is added; the store need not be there yet.

        Raises ReadOnlyStore, StoreAway.
        """

    def require_writable(self, name: str) -> None:
        """Raise OSError or StoreError where no version of `name` could be published now. Leaves no trace.

        At a URL of an object storage, only whether it is one that can be written, and answers.
        """
        require_inside(self.root, (self.root / name,), name)
        try_writing(self.root / name)

    def lease(self, _: str, __: int) -> object:
        """Have all files of a version in `root`, and keep them there as long as the result is kept.

        In a folder they are there, and stay. Raises CorruptModel, StoreAway, UnknownModel.
        """
        return None

    def names(self) -> list[str]:
        """All models with at least one version, sorted; empty if `root` does not exist.

        A folder that cannot be looked into is one of them. Raises OSError where that is `root`.
        """
        return published_names(self.root)

    def foreign(self) -> list[str]:
        """What lies in `root` and is no model, sorted: files, invalid names, folders without a version.

        Hidden entries, `lost+found` of a file system, and a folder that is being published to are not listed.
        """
        if not self.root.is_dir():
            return []
        entries = (entry for entry in self.root.iterdir() if not (_hidden(entry) or entry.name == _LOST_AND_FOUND))
        models = set(self.names())
        return sorted(entry.name for entry in entries if not (entry.name in models or _is_being_written(entry)))

    def versions(self, name: str) -> list[int]:
        """The published versions of a model, ascending; empty for an unknown name. An empty folder is none.

        Raises CorruptModel for a folder that cannot be looked into.
        """
        try:
            return published_versions(self.root, name)
        except OSError as error:
            raise CorruptModel(f"{name}: its folder cannot be read: {reason_of(error)}") from error

    def current(self, name: str) -> int:
        """The promoted version, else the newest. Raises UnknownModel for an unknown name."""
        chosen = self._read_current(name) if valid_name(name) else None
        versions = self._known_versions(name)  # after `chosen`: another process may publish between the two
        if chosen is None:
            return versions[-1]
        if chosen not in map(str, versions):
            raise CorruptModel(f"{name}: {_CURRENT} says {chosen[:20]!r}, but there are the versions {versions}")
        return int(chosen)

    def manifest(self, name: str, version: int | None = None) -> Manifest:
        """The manifest of a version, by default the current one.

        Raises CorruptModel if it is invalid or misplaced, or if a link leads out of the store.
        """
        folder = self._folder(name, version, _MANIFEST)
        label = f"{name}@{folder.name}"
        try:
            manifest = _parse_manifest((folder / _MANIFEST).read_bytes(), label)
        except OSError as error:
            raise CorruptModel(f"{label}: unreadable {_MANIFEST}: {reason_of(error)}") from error
        if (manifest.name, str(manifest.version)) != (name, folder.name):
            raise CorruptModel(f"{label}: {_MANIFEST} describes {manifest.label}")
        return manifest

    def preview(self, name: str, version: int | None = None) -> Path | None:
        """The file of the preview of a version, by default the current one; None if it has none.

        Raises CorruptModel if a link leads out of the store.
        """
        path = self._folder(name, version, _PREVIEW) / _PREVIEW
        return path if path.is_file() else None

    def has_preview(self, name: str, version: int) -> bool:
        """Whether a version was published with a picture of what it does."""
        return self.preview(name, version) is not None

    def card(self, name: str, version: int | None = None) -> str:
        """The model card of a version, by default the current one: its README.md, or where it has none a new one.

        Raises CorruptModel if a link leads out of the store, or if there is neither a README.md nor a manifest.
        """
        folder = self._folder(name, version, _CARD)
        try:
            return (folder / _CARD).read_text("utf-8", "replace")
        except OSError:  # versions that were published before there were cards have none
            return model_card(self.manifest(name, int(folder.name)), preview=self.has_preview(name, int(folder.name)))

    def load(self, name: str, version: int | None = None) -> StoredModel:
        """Load a version, by default the current one.

        Raises CorruptModel if a digest is wrong, the files contradict each other, or a link leads out of the store, and
        MissingExtra if a library is missing that an imported network needs. It does not run the network.
        """
        manifest = self.manifest(name, version)
        folder = self._folder(name, manifest.version, _GOLDEN)
        network = build_network(manifest.network, self.tensors(manifest), manifest.label)
        _check_derived(manifest, network)
        golden = _to_golden(_read_tensors(folder / _GOLDEN, manifest.golden_digest, manifest.label), manifest)
        return StoredModel(manifest, network, golden)

    def tensors(self, manifest: Manifest) -> dict[str, Tensor]:
        """The weights of a version as they are stored. Raises CorruptModel if their digest is wrong."""
        path = self._folder(manifest.name, manifest.version, _WEIGHTS) / _WEIGHTS
        return _read_tensors(path, manifest.digest, manifest.label)

    def verify(self, name: str, version: int | None = None) -> Manifest:
        """Load a version and recompute its golden output in fp32. Raises StoreError if anything differs."""
        model = self.load(name, version)
        with torch.inference_mode():
            model.check(model.network(model.golden.batch()))
        return model.manifest

    def publish(
        self,
        network: Network,
        draft: Draft,
        preview: bytes | None = None,
        picture: Tensor | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Manifest:
        """Store `network` as the next version of `draft.name` and make it current.

        `preview` is a PNG file; `picture`, uint8 (H, W, 3), becomes the golden input; `tensors` are what is stored of
        the weights, by default convolutions in fp16. The golden output and the manifest are computed from the weights
        as stored. Readers see a complete version or none. Raises StoreError, and writes nothing, if a stored value
        would not be finite, or if the model's folder is not in the store.
        """
        weights = _serialize(_to_storage_precision(network) if tensors is None else tensors, draft.name)
        stored = build_network(network.spec, parse_safetensors(weights), draft.name)
        golden = Golden.of(stored, picture)
        pair = _serialize({"input": golden.input, "output": golden.output}, draft.name)
        files = {_WEIGHTS: weights, _GOLDEN: pair} | ({} if preview is None else {_PREVIEW: preview})
        return self._publish_next(draft, stored, files)

    def publish_once(self, network: Network, draft: Draft, preview: bytes | None = None) -> Manifest:
        """As `publish`, but where the newest version has these weights and this provenance, it is that, made current.

        So a publisher that was killed in the middle can be run again.
        """
        self.prepare_writing()
        newest = self._newest(draft.name)
        digest = digest_of(_to_storage_precision(network), draft.name)
        if newest is None or (newest.digest, newest.provenance) != (digest, draft.provenance):
            return self.publish(network, draft, preview)
        if self.current(draft.name) != newest.version:
            self.promote(draft.name, newest.version)
        return newest

    def _newest(self, name: str) -> Manifest | None:
        """The manifest of the newest version; None where there is none, or a damaged one."""
        versions = self.versions(name)
        try:
            return self.manifest(name, versions[-1]) if versions else None
        except CorruptModel:
            return None

    def files(self, name: str, version: int) -> dict[str, bytes]:
        """All files of a version by name, as they are stored. Raises CorruptModel where one is damaged or missing."""
        folder = self._folder(name, version, *STORED_FILES)
        manifest = self.manifest(name, version)
        try:
            files = {file: (folder / file).read_bytes() for file in STORED_FILES if (folder / file).is_file()}
        except OSError as error:
            raise CorruptModel(f"{name}@{version}: unreadable: {reason_of(error)}") from error
        for file, digest in {_WEIGHTS: manifest.digest, _GOLDEN: manifest.golden_digest}.items():
            _require_digest(files.get(file), file, digest, manifest.label)
        return files

    def add(self, name: str, version: int, files: Mapping[str, bytes]) -> None:
        """Add a version of another store under its number. Raises StoreError where there is another of that number."""
        require_inside(self.root, (self.root / name,), name)
        try:
            write_folder(self.root / name / str(version), files)
        except OSError as error:
            raise StoreError(f"{name}@{version} cannot be added to {self.root}: {reason_of(error)}") from error

    def promote(self, name: str, version: int) -> None:
        """Make a version the current one. Raises UnknownModel if it does not exist, CorruptModel if it is elsewhere."""
        folder = self._folder(name, version).parent
        replace_file(folder / _CURRENT, f"{version}\n".encode())

    def rollback(self, name: str) -> int:
        """Make the version before the current one current and return it. Raises UnknownModel if there is none."""
        current = self.current(name)
        earlier = [version for version in self.versions(name) if version < current]
        if not earlier:
            raise UnknownModel(f"{name}@{current} is the oldest version; there is none to roll back to")
        self.promote(name, earlier[-1])
        return earlier[-1]

    def _folder(self, name: str, version: int | None, *_: str) -> Path:
        """The folder of a version, by default of the current one, with those of the given files that it has."""
        chosen = self.current(name) if version is None else version
        versions = self._known_versions(name)
        if chosen not in versions:
            raise UnknownModel(f"no version {chosen} of {name!r}; there are: {versions}")
        folder = self.root / name / str(chosen)
        files = (folder / file for file in STORED_FILES)
        require_inside(self.root, (folder.parent, folder, *files), f"{name}@{chosen}")
        return folder

    def _known_versions(self, name: str) -> list[int]:
        """The versions of a model, at least one. Raises UnknownModel."""
        versions = self.versions(name)
        if not versions:
            raise UnknownModel(f"no model {name!r} in {self.location}; there are: {', '.join(self.names()) or 'none'}")
        return versions

    def _read_current(self, name: str) -> str | None:
        """The content of the file `current`, None if there is no such file."""
        pointer = self.root / name / _CURRENT
        require_inside(self.root, (pointer.parent, pointer), name)
        try:
            return pointer.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CorruptModel(f"{name}: unreadable {_CURRENT}: {reason_of(error)}") from error

    def _publish_next(self, draft: Draft, network: Network, files: Mapping[str, bytes]) -> Manifest:
        """Write the next version; if another publisher has taken its number meanwhile, the one after it."""
        require_inside(self.root, (self.root / draft.name,), draft.name)
        while True:
            version = next_version(self.versions(draft.name))
            manifest, content = build_version(draft, version, network, files)
            try:
                write_folder(self.root / draft.name / str(version), content)
            except OSError:
                if version not in self.versions(draft.name):
                    raise
            else:
                self._promote_newest(draft.name)
                return manifest

    def _promote_newest(self, name: str) -> None:
        """Of several publishers the last to write `current` sees the versions of all, so none undoes another's."""
        promoted = 0
        while (newest := self.versions(name)[-1]) != promoted:
            self.promote(name, newest)
            promoted = newest


def next_version(versions: list[int]) -> int:
    """The number of the next version."""
    return max(versions, default=0) + 1


def build_version(
    draft: Draft, version: int, network: Network, files: Mapping[str, bytes]
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a version, and all its files by name: those that are given, the manifest and the card."""
    content = _build_manifest(draft, version, network, files).model_dump_json(indent=2).encode()
    manifest = _parse_manifest(content, f"{draft.name}@{version}")
    card = model_card(manifest, preview=_PREVIEW in files).encode()
    return manifest, {**files, _MANIFEST: content, _CARD: card}


def _hidden(entry: Path) -> bool:
    return entry.name.startswith(".")


def _is_being_written(folder: Path) -> bool:
    """Whether it is the folder of a model that holds the temporary folder of a first version."""
    return valid_name(folder.name) and folder.is_dir() and any(map(_hidden, folder.iterdir()))


def _build_manifest(draft: Draft, version: int, network: Network, files: Mapping[str, bytes]) -> Manifest:
    assert isinstance(network.spec, NetworkSpec | ImportedSpec)
    return Manifest(
        **dict(draft),
        **_derived_fields(network),
        version=version,
        network=network.spec,
        digest=_digest(files[_WEIGHTS]),
        golden_digest=_digest(files[_GOLDEN]),
        created=datetime.now(UTC),
    )


def build_network(spec: Spec, tensors: dict[str, Tensor], label: str) -> Network:
    """The network in fp32 and in evaluation mode. Raises CorruptModel or MissingExtra."""
    try:
        match spec:
            case NetworkSpec():
                network = TransformNetwork(spec)
                network.load_state_dict(tensors, strict=True)
                return network.eval()
            case ImportedSpec():
                return build_imported(spec, tensors)
    except (RuntimeError, UnknownCheckpoint) as error:
        raise CorruptModel(f"{label}: weights do not fit {spec}: {error}") from error
    except MissingExtra as error:
        raise MissingExtra(f"{label}: {error}") from error
    raise CorruptModel(f"{label}: {spec} is no network that can be built")


def _derived_fields(network: Network) -> dict[str, Any]:
    """The fields of a manifest that are computed from its network."""
    return {
        "scale": network.spec.scale,
        "tileable": network.spec.tileable,
        "halo": network.spec.halo,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def _check_derived(manifest: Manifest, network: Network) -> None:
    for field, value in _derived_fields(network).items():
        stated = getattr(manifest, field)
        if stated != value:
            raise CorruptModel(f"{manifest.label}: {_MANIFEST} says {field} {stated}, its network has {value}")


def _parse_manifest(content: bytes, label: str) -> Manifest:
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise CorruptModel(f"{label}: unreadable {_MANIFEST}: {_format_errors(error)}") from error


def _format_errors(error: ValidationError) -> str:
    """Every field with its message, in one line."""
    found = ((".".join(map(str, complaint["loc"])), complaint["msg"]) for complaint in error.errors())
    return "; ".join(f"{field}: {message}" if field else message for field, message in found)


def _to_golden(tensors: dict[str, Tensor], manifest: Manifest) -> Golden:
    found = {name: (tensor.dtype, *tensor.shape) for name, tensor in tensors.items()}
    match found:
        case {"input": (torch.uint8, int(height), int(width), 3), "output": output, **others} if height * width:
            if not others and output == (torch.float32, 1, 3, height * manifest.scale, width * manifest.scale):
                return Golden(tensors["input"], tensors["output"])
    raise CorruptModel(f"{manifest.label}: {_GOLDEN} holds {found}, which is no picture and its output")


def digest_of(tensors: Mapping[str, Tensor], name: str) -> str:
    """The digest that these weights have in a store. Raises StoreError where a value is not finite."""
    return _digest(_serialize(tensors, name))


def _serialize(tensors: Mapping[str, Tensor], name: str) -> bytes:
    """The tensors in the safetensors format. Raises StoreError if a value is not finite."""
    for key, tensor in tensors.items():
        if not _is_finite(tensor):
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise StoreError(f"{name}: {key} has values that are not finite in {dtype}; nothing was published")
    return format_safetensors({key: tensor.contiguous() for key, tensor in tensors.items()})


def _is_finite(tensor: Tensor) -> bool:
    """Whether no value is infinite or NaN, which torch does not tell of all floats of 8 bits."""
    widened = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
    return bool(torch.isfinite(widened).all())


def _to_storage_precision(network: nn.Module) -> dict[str, Tensor]:
    """The state dict in fp16, but normalisation layers in their own precision."""
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d | InstanceNorm)}
    state = network.state_dict().items()
    return {key: (value if key.rpartition(".")[0] in norms else value.half()).detach().cpu() for key, value in state}


def _read_tensors(path: Path, digest: str, label: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        _require_digest(content, path.name, digest, label)
        return parse_safetensors(content)
    except (OSError, SafetensorError) as error:
        raise CorruptModel(f"{label}: unreadable {path.name}: {reason_of(error)}") from error


def _require_digest(content: bytes | None, file: str, digest: str, label: str) -> None:
    """Raise CorruptModel where a file of a version is missing, or another one than its manifest says."""
    if content is None:
        raise CorruptModel(f"{label}: {file} is missing")
    if _digest(content) != digest:
        raise CorruptModel(f"{label}: {file} is {_digest(content)}, its manifest says {digest}")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
