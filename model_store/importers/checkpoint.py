"""The tensors of a checkpoint file, whoever wrote it. Nothing but tensors is ever unpickled, and no code is run."""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from model_store.errors import MissingExtra, StoreError, UnknownCheckpoint
from model_store.importers.archive import require_bounded, require_state_dict, unpacked_size
from model_store.importers.prefixes import without_prefixes
from model_store.importers.tensorflow_checkpoint import (
    data_beside,
    find_index,
    is_table,
    read_first_version,
    read_second_version,
)
from model_store.importers.torch7 import read_torch7
from model_store.importers.torch7_style import from_torch7

FORMATS = "safetensors, PyTorch's .pth and .pt, TensorFlow's .ckpt, Torch7's .t7, or NumPy's .npz"
"""What can be read, for messages."""

WRAPPERS = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
"""Keys under which trainers keep the weights beside their own state, the preferred one first."""

MOST_BYTES = 2**31
"""Of a file that is read: many times the largest network that can be imported, also with a trainer's state."""

_CHUNK = 2**24
"""Bytes that are read at a time."""

_ARCHIVE = b"PK"
"""How archives begin, those of torch and of NumPy."""

PICKLES = (b"\x80", _ARCHIVE)
"""How files begin that Python has pickled: a pickle of protocol 2 or newer, or torch's archive with one in it."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, by their keys."""

    file: str
    digest: str
    """sha256:… of the file."""
    tensors: Mapping[str, Tensor]
    header: Mapping[str, str] = field(default_factory=dict)
    """The text in the header of a safetensors file."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file, or both files of a checkpoint of TensorFlow's second version. Each is read once, so a pipe will do.

    Raises UnknownCheckpoint for what holds anything but tensors, or no tensors at all; MissingExtra where a library is
    missing.
    """
    file, content, table = _read_files(path)
    try:
        if not content:
            raise UnknownCheckpoint("it is empty")
        with warnings.catch_warnings(action="ignore"):  # of torch, about other versions of its format
            tensors, header = _parse(file, content) if table is None else (read_second_version(table, content), {})
        _require_weights(tensors, len(content))
    except MissingExtra as error:
        raise MissingExtra(f"{path.name}: {error}") from error
    except UnknownCheckpoint as error:
        raise UnknownCheckpoint(f"{path.name} is refused: {error}") from error
    except UnpicklingError as error:
        if not content.startswith(PICKLES):
            raise UnknownCheckpoint(f"{path.name} cannot be read as {FORMATS}") from error
        reason = "it holds Python objects beside its tensors, which could run code"
        raise UnknownCheckpoint(f"{path.name} is not read: {reason}; save its state dict alone") from error
    except MemoryError as error:
        raise UnknownCheckpoint(f"{path.name} says of itself that it holds more than there is memory for") from error
    except Exception as error:  # the libraries raise anything for a broken file
        reason = str(error) or type(error).__name__
        raise UnknownCheckpoint(f"{path.name} cannot be read as {FORMATS}: {reason}") from error
    if not tensors:
        raise UnknownCheckpoint(f"{path.name} holds no tensors; a checkpoint is wanted: {FORMATS}")
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Checkpoint(_readable(file.name), digest, without_prefixes(tensors), header)


def _read_files(path: Path) -> tuple[Path, bytes, bytes | None]:
    """The file that has the tensors, its content, and that of the table beside it, where there is one."""
    try:
        index = find_index(path)
        file = path if index is None else data_beside(index)
        return file, _read_bounded(file), None if index is None else _read_bounded(index)
    except MemoryError as error:
        raise UnknownCheckpoint(f"{path.name} is larger than the memory that there is") from error
    except OSError as error:
        raise StoreError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _read_bounded(path: Path) -> bytes:
    """The content of a file or a pipe. Raises UnknownCheckpoint for one without an end, as a device may be."""
    content = bytearray()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            content += chunk
            if len(content) > MOST_BYTES:
                raise UnknownCheckpoint(f"{path.name} is refused: it has more than {MOST_BYTES:,} bytes")
    return bytes(content)


def _readable(name: str) -> str:
    """A file's name as a manifest can have it: what is no UTF-8 of it becomes �."""
    return os.fsencode(name).decode("utf-8", "replace")


def _parse(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, and the text in its header."""
    suffix = path.suffix.lower()
    if is_table(content):
        return read_first_version(content), {}
    if suffix == ".t7":
        return from_torch7(read_torch7(content)), {}
    if content[8:9] == b"{" or (suffix == ".safetensors" and not content.startswith(PICKLES)):
        return load(content), _header(content)
    if content.startswith(_ARCHIVE):
        _require_archive(content)
    return (_read_arrays(content) if suffix == ".npz" else _read_pickle(content)), {}


def _require_archive(content: bytes) -> None:
    """Raise UnknownCheckpoint for an archive without an end, and for one that unpacks to too much."""
    if not is_zipfile(io.BytesIO(content)):
        raise UnknownCheckpoint("its end is missing, as after a download that was interrupted")
    require_bounded(unpacked_size(content), len(content))


def _header(content: bytes) -> dict[str, str]:
    """The text in the header of a safetensors file, which has been read before."""
    size = int.from_bytes(content[:8], "little")
    text: dict[str, str] = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    return text


def _require_weights(tensors: Mapping[str, Tensor], size: int) -> None:
    """Raise UnknownCheckpoint for what is no weights, or for more of them than a file of `size` bytes may have."""
    for key, tensor in tensors.items():
        _require_plain(key, tensor, size)
    require_bounded(sum(tensor.numel() * tensor.itemsize for tensor in tensors.values()), size)


def _require_plain(key: str, tensor: Tensor, size: int) -> None:
    """Raise UnknownCheckpoint for what is no weights: real numbers, all of them in a file of `size` bytes."""
    if tensor.is_meta:
        raise UnknownCheckpoint(f"its {key} has a shape, and no values")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        kind = str(tensor.dtype if tensor.layout == torch.strided else tensor.layout).removeprefix("torch.")
        raise UnknownCheckpoint(f"its {key} is {kind}; plain tensors of real numbers can be imported")
    if tensor.numel() * tensor.itemsize > max(size, tensor.untyped_storage().nbytes()):
        raise UnknownCheckpoint(f"its {key} says that it is {tuple(tensor.shape)}, which is more than is in the file")


def _read_arrays(content: bytes) -> dict[str, Tensor]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def _read_pickle(content: bytes) -> dict[str, Tensor]:
    """What torch.save has written, without the objects that a pickle may construct."""
    if not content.startswith(PICKLES):
        raise UnpicklingError("it is no pickle")  # torch raises anything else, by the first byte
    if content.startswith(_ARCHIVE):
        require_state_dict(content)
    found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return _unwrapped(found) if isinstance(found, dict) else {}


def _unwrapped(content: dict[Any, Any]) -> dict[str, Tensor]:
    """The state dict, which may lie under a known key, or under the only one that has tensors."""
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict) and content[key]), None)
    tensors = {str(key): value.detach() for key, value in content.items() if isinstance(value, Tensor)}
    if inner is None and not tensors:
        inner = _only_state_dict(content)
    return tensors if inner is None else _unwrapped(inner)


def _only_state_dict(content: dict[Any, Any]) -> dict[Any, Any] | None:
    """What has tensors beside the state of a trainer, or is alone. Raises UnknownCheckpoint for several networks."""
    inner = {key: value for key, value in content.items() if isinstance(value, dict)}
    states = {key: value for key, value in inner.items() if any(isinstance(each, Tensor) for each in value.values())}
    if len(states) > 1:
        raise UnknownCheckpoint(f"it holds several networks: {', '.join(map(str, states))}; save one of them alone")
    found = states or inner
    return next(iter(found.values())) if len(found) == 1 else None
