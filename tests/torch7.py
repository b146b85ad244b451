"""Writes Torch7's binary files, for tests: numbers, strings, booleans, tables, float tensors and layers."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor


@dataclass
class Layer:
    """An object of a class, with its fields."""

    kind: str
    fields: dict[str, Any]


class Writer:
    def __init__(self) -> None:
        self.content = bytearray()
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []

    def write(self, value: Any) -> None:
        match value:
            case None:
                self.int(0)
            case bool():
                self.int(5)
                self.int(value)
            case int() | float():
                self.int(1)
                self.content += struct.pack("<d", value)
            case str():
                self.int(2)
                self.string(value)
            case Tensor():
                self._object(value, "torch.FloatTensor", self._tensor)
            case Layer():
                self._object(value, value.kind, lambda layer: self.write(layer.fields))
            case Mapping():
                self.int(3)
                if self._number(value):
                    self.int(len(value))
                    for key, each in value.items():
                        self.write(key)
                        self.write(each)

    def int(self, number: int) -> None:
        self.content += struct.pack("<i", number)

    def string(self, text: str) -> None:
        self.int(len(text))
        self.content += text.encode()

    def _number(self, value: Any) -> bool:
        """Write the number of an object; whether it is new."""
        new = id(value) not in self._numbers
        self._kept.append(value)
        self.int(self._numbers.setdefault(id(value), len(self._numbers) + 1))
        return new

    def _object(self, value: Any, kind: str, write: Any) -> None:
        self.int(4)
        if self._number(value):
            self.string("V 1")
            self.string(kind)
            write(value)

    def _tensor(self, tensor: Tensor) -> None:
        self.int(tensor.dim())
        for number in (*tensor.shape, *tensor.contiguous().stride(), 1):
            self.content += struct.pack("<q", number)
        values = tensor.detach().contiguous().numpy().astype(np.float32)
        self._object(values, "torch.FloatStorage", self._storage)

    def _storage(self, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        self.content += struct.pack("<q", values.size) + values.tobytes()


def torch7(value: Any) -> bytes:
    """The file of an object."""
    writer = Writer()
    writer.write(value)
    return bytes(writer.content)
