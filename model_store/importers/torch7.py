"""Reads Torch7's binary files (`.t7`): numbers, strings, tables, tensors, and the fields of known layers. Runs no code.

A file is one object. An object is a type, and then a value; tables and Torch's own objects have a number, by which a
later mention refers to the first. https://github.com/torch/torch7/blob/master/File.lua, doc/serialization.md
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_store.errors import UnknownCheckpoint

_NIL, _NUMBER, _STRING, _TABLE, _TORCH, _BOOLEAN = range(6)
"""Types of objects. Those above are functions, which are code."""

_ELEMENTS = {"Double": "<f8", "Float": "<f4", "Long": "<i8", "Int": "<i4", "Byte": "u1", "Cuda": "<f4"}
"""Element types by the name of their tensors and storages."""

_DEEPEST = 100
"""Objects inside of one another, at most."""


@dataclass
class Torch7Object:
    """A layer: its class, such as nn.SpatialConvolution, and its fields."""

    kind: str
    fields: dict[Any, Any]


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._position = 0
        self._known: dict[int, Any] = {}
        self._depth = 0

    def read(self) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnknownCheckpoint(f"its objects lie more than {_DEEPEST} deep in one another")
        value = self._read_value(self._int())
        self._depth -= 1
        return value

    def _read_value(self, kind: int) -> Any:
        match kind:
            case 0:
                return None
            case 1:
                return self._number("<d")
            case 2:
                return self._string()
            case 3:
                return self._numbered(self._table)
            case 4:
                return self._numbered(self._object)
            case 5:
                return bool(self._int())
        raise UnknownCheckpoint(f"it holds an object of type {kind}, which is code or no Torch7 file in binary form")

    def _numbered(self, read: Any) -> Any:
        number = self._int()
        if number not in self._known:
            self._known[number] = None  # for a mention inside of itself
            self._known[number] = read()
        return self._known[number]

    def _table(self) -> dict[Any, Any]:
        entries: dict[Any, Any] = {}
        for _ in range(self._int()):
            key, value = self.read(), self.read()
            if isinstance(key, str | float | bool):
                entries[int(key) if isinstance(key, float) and key.is_integer() else key] = value
        return entries

    def _object(self) -> Any:
        version = self._string()
        kind = self._string() if version.startswith("V ") else version
        package, _, name = kind.partition(".")
        if package == "torch" and name.removesuffix("Tensor") in _ELEMENTS and name.endswith("Tensor"):
            return self._tensor()
        if package == "torch" and name.removesuffix("Storage") in _ELEMENTS and name.endswith("Storage"):
            return self._storage(_ELEMENTS[name.removesuffix("Storage")])
        if package in ("nn", "cudnn"):
            return Torch7Object(f"nn.{name}", self._fields(kind))
        raise UnknownCheckpoint(f"it holds a {kind[:40]!r}, which is neither a tensor nor a layer")

    def _fields(self, kind: str) -> dict[Any, Any]:
        fields = self.read()
        if not isinstance(fields, dict):
            raise UnknownCheckpoint(f"a {kind[:40]} has no table of fields")
        return fields

    def _tensor(self) -> Tensor | None:
        dimensions = self._int()
        sizes = [self._long() for _ in range(dimensions)]
        strides = [self._long() for _ in range(dimensions)]
        offset, storage = self._long() - 1, self.read()
        if storage is None or not dimensions:
            return None
        if not isinstance(storage, Tensor) or storage.dim() != 1:
            raise UnknownCheckpoint("a tensor has no storage")
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if min([*sizes, *strides], default=0) < 0 or offset < 0 or last >= len(storage):
            raise UnknownCheckpoint("a tensor lies outside of its storage")
        return torch.as_strided(storage, sizes, strides, offset)

    def _storage(self, element: str) -> Tensor:
        count = self._long()
        data = self._take(count * np.dtype(element).itemsize)
        return torch.from_numpy(np.frombuffer(data, element).copy())

    def _string(self) -> str:
        return bytes(self._take(self._int())).decode("latin-1")

    def _int(self) -> int:
        return int(self._number("<i"))

    def _long(self) -> int:
        return int(self._number("<q"))

    def _number(self, form: str) -> Any:
        (number,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return number

    def _take(self, count: int) -> memoryview:
        end = self._position + count
        if count < 0 or end > len(self._content):
            raise UnknownCheckpoint("it ends too early, or is no Torch7 file in binary form")
        taken, self._position = self._content[self._position : end], end
        return taken


def read_torch7(content: bytes) -> Any:
    """The object of a file. Raises UnknownCheckpoint for code, and for what is no such file."""
    return _Reader(content).read()
