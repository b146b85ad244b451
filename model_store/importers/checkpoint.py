"""The tensors of a checkpoint file, whoever wrote it. Nothing but tensors is ever unpickled, and no code is run."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from model_store.errors import MissingExtra, StoreError, UnknownCheckpoint
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

PREFIXES = ("module.", "netG.")
"""Of all keys, where a network was wrapped as it was saved."""

PICKLES = (b"\x80", b"PK")
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
    """Read a file, or both files of a checkpoint of TensorFlow's second version.

    Raises UnknownCheckpoint for what holds anything but tensors, or no tensors at all; MissingExtra where a library is
    missing.
    """
    try:
        index = find_index(path)
        file = path if index is None else data_beside(index)
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if not content:
            raise UnknownCheckpoint("it is empty")
        with warnings.catch_warnings(action="ignore"):  # of torch, about other versions of its format
            tensors = _reader(file)(file) if index is None else _read_bundle(index)
        header = _header(file)
    except OSError as error:
        raise StoreError(f"{error.filename or path} cannot be read: {error.strerror}") from error
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
    return Checkpoint(_readable(file.name), f"sha256:{digest}", tensors, header)


def _readable(name: str) -> str:
    """A file's name as a manifest can have it: what is no UTF-8 of it becomes �."""
    return os.fsencode(name).decode("utf-8", "replace")


def _reader(path: Path) -> Callable[[Path], dict[str, Tensor]]:
    if path.suffix == ".safetensors":
        return lambda path: _unprefixed(load_file(path))
    if is_table(path):
        return lambda path: read_first_version(path.read_bytes())
    return {".npz": _read_arrays, ".t7": _read_torch7}.get(path.suffix, _read_pickle)


def _header(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _read_bundle(index: Path) -> dict[str, Tensor]:
    return read_second_version(index.read_bytes(), data_beside(index).read_bytes())


def _read_torch7(path: Path) -> dict[str, Tensor]:
    return from_torch7(read_torch7(path.read_bytes()))


def _read_arrays(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """What torch.save has written, without the objects that a pickle may construct."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    return _unprefixed(_unwrapped(content)) if isinstance(content, dict) else {}


def _unwrapped(content: dict[Any, Any]) -> dict[str, Tensor]:
    """The state dict, which may lie under a known key or under a single one."""
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
    if inner is None and len(content) == 1:
        inner = next((value for value in content.values() if isinstance(value, dict)), None)
    if inner is not None:
        return _unwrapped(inner)
    return {str(key): value.detach() for key, value in content.items() if isinstance(value, Tensor)}


def _unprefixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors
