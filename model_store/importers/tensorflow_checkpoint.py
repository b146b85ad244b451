"""Reads TensorFlow's checkpoints: their float32 tensors, by name. It needs no TensorFlow, and runs no code.

A checkpoint of the first version is one file: a table whose key "" has the shapes of all tensors, and each other key
the values of one (SavedTensorSlices). One of the second version is a table that says where tensors lie
(BundleEntryProto), whose key "" has a header (BundleHeaderProto), and a file beside it that has their bytes.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/saved_tensor_slice.proto
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/tensor_bundle.proto
"""

from collections.abc import Iterable
from itertools import islice
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model_store.errors import UnknownCheckpoint
from model_store.importers.protobuf import integers, messages
from model_store.importers.sstable import MAGIC, masked_checksum, read_table

INDEX_SUFFIX = ".index"
DATA_SUFFIX = ".data-00000-of-00001"
_SUFFIXES = (INDEX_SUFFIX, DATA_SUFFIX, ".meta")
"""Of the files of a checkpoint of the second version; the last one has the graph, which is not read."""

_FLOAT32 = 1
_OTHER_FLOATS = {2: "float64", 14: "bfloat16", 19: "float16"}
"""By their numbers in TensorFlow. Further types are those of counts of steps, of text, and others without weights."""

_MOST_DIMENSIONS = 8

Shape = tuple[int, ...]


def is_table(content: bytes) -> bool:
    """Whether a file ends as every table does."""
    return content.endswith(MAGIC)


def find_index(path: Path) -> Path | None:
    """The table of a checkpoint of the second version, named by any of its files or by what their names begin with."""
    if not path.name:
        return None
    named = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), "")
    index = path.with_name(path.name.removesuffix(named) + INDEX_SUFFIX)
    if index == path or ((named or not path.is_file()) and index.is_file()):
        return index
    return None


def data_beside(index: Path) -> Path:
    """The file that has the tensors of a checkpoint of the second version."""
    return index.with_name(index.name.removesuffix(INDEX_SUFFIX) + DATA_SUFFIX)


def read_first_version(content: bytes) -> dict[str, Tensor]:
    """The tensors of a file. Raises UnknownCheckpoint for one that is damaged, or has tensors in parts."""
    shapes: dict[str, Shape] = {}
    tensors: dict[str, Tensor] = {}
    for key, value in read_table(content):
        if not key:
            shapes = _read_contents(value)
        for saved in messages(value, 2):
            name = _text(saved, 1)
            if name in tensors:
                raise UnknownCheckpoint(f"it has {name} twice")
            if name in shapes:
                tensors[name] = _as_tensor(name, _values(saved), shapes[name])
    if missing := shapes.keys() - tensors.keys():
        raise UnknownCheckpoint(f"it has no values of {min(missing)}")
    return tensors


def read_second_version(index: bytes, data: bytes) -> dict[str, Tensor]:
    """The tensors of both files. Raises UnknownCheckpoint where they are damaged or do not belong together."""
    entries = read_table(index)
    _check_header(next(entries, (b"", memoryview(b""))))
    tensors: dict[str, Tensor] = {}
    left = len(data)
    for key, entry in entries:
        name = _decoded(key)
        shape = _weights_shape(name, kind=_integer(entry, 1), shape=messages(entry, 2), slices=messages(entry, 7))
        if shape is not None:
            values = _located(name, entry, data)
            left -= len(values)
            tensors[name] = _as_tensor(name, values, shape)
        if left < 0:
            raise UnknownCheckpoint("tensors of it overlap")
    return tensors


def _read_contents(value: memoryview) -> dict[str, Shape]:
    """The shapes of all float32 tensors of a file of the first version."""
    if any(integers(value, 1)):
        raise UnknownCheckpoint(f"it is one of the two files of a checkpoint; its name should end in {INDEX_SUFFIX}")
    shapes: dict[str, Shape] = {}
    for contents in messages(value, 1):
        for tensor in messages(contents, 1):
            name = _text(tensor, 1)
            slices = (part for part in messages(tensor, 4) if not _is_whole(part))
            shape = _weights_shape(name, kind=_integer(tensor, 3), shape=messages(tensor, 2), slices=slices)
            if shape is not None:
                shapes[name] = shape
    return shapes


def _check_header(entry: tuple[bytes, memoryview]) -> None:
    key, header = entry
    files = _integer(header, 1)
    if key or not files:
        raise UnknownCheckpoint("it is no index of a checkpoint in two files")
    if files > 1:
        raise UnknownCheckpoint(f"its tensors are in {files} files; those in one can be imported")
    if _integer(header, 2):
        raise UnknownCheckpoint("it was written on a machine with another order of bytes")


def _weights_shape(name: str, *, kind: int, shape: Iterable[memoryview], slices: Iterable[memoryview]) -> Shape | None:
    """The shape of a float32 tensor, None for one that holds no weights. `slices` are its parts, if it is not whole."""
    if kind in _OTHER_FLOATS:
        raise UnknownCheckpoint(f"its {name} is {_OTHER_FLOATS[kind]}; float32 can be imported")
    if kind != _FLOAT32:
        return None
    if any(True for _ in slices):
        raise UnknownCheckpoint(f"its {name} is saved in parts; tensors that are saved whole can be imported")
    sides = [_integer(side, 1) for each in shape for side in islice(messages(each, 2), _MOST_DIMENSIONS + 1)]
    if len(sides) > _MOST_DIMENSIONS:
        raise UnknownCheckpoint(f"its {name} has more than {_MOST_DIMENSIONS} dimensions")
    return tuple(sides)


def _is_whole(part: memoryview) -> bool:
    """Whether no side of a slice has a length of its own."""
    return not any(True for extent in messages(part, 1) for _ in integers(extent, 2))


def _values(saved: memoryview) -> memoryview:
    """The packed numbers of a SavedSlice."""
    tensors = next(messages(saved, 3), memoryview(b""))
    return next(messages(tensors, 5), memoryview(b""))


def _located(name: str, entry: memoryview, data: bytes) -> memoryview:
    """The bytes that a BundleEntryProto names, by their checksum."""
    begin, size = _integer(entry, 4), _integer(entry, 5)
    if begin + size > len(data):
        raise UnknownCheckpoint(f"{name} lies beyond the end of its data, which is another checkpoint's or incomplete")
    values = data[begin : begin + size]
    if masked_checksum(values) != _integer(entry, 6):
        raise UnknownCheckpoint(f"the checksum of {name} is wrong: its data is damaged or another checkpoint's")
    return memoryview(values)


def _as_tensor(name: str, values: memoryview, shape: Shape) -> Tensor:
    if len(values) != 4 * prod(shape):
        sides = "×".join(map(str, shape))
        raise UnknownCheckpoint(f"its {name} has {len(values)} bytes, which is no float32 tensor of {sides or 'one'}")
    return torch.from_numpy(np.frombuffer(values, "<f4").reshape(shape).copy())


def _integer(message: memoryview, number: int) -> int:
    """A field; 0 where it is missing, as protocol buffers have it."""
    return next(integers(message, number), 0)


def _text(message: memoryview, number: int) -> str:
    return _decoded(bytes(next(messages(message, number), memoryview(b""))))


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "replace")
