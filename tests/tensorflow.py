"""Writes TensorFlow's checkpoints of both versions, for tests: tables of protocol buffers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_store.importers.sstable import MAGIC, masked_checksum

Array = np.ndarray[Any, np.dtype[Any]]
TYPES = {"float32": 1, "float64": 2, "int64": 9, "float16": 19}


def varint(number: int) -> bytes:
    """Groups of seven bits, the lowest first."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A protocol buffer of integers and of bytes. Field 6 is written as BundleEntryProto has its checksum."""
    content = b""
    for number, value in fields:
        if isinstance(value, bytes):
            content += varint(number << 3 | 2) + varint(len(value)) + value
        elif number == 6:
            content += varint(number << 3 | 5) + value.to_bytes(4, "little")
        else:
            content += varint(number << 3) + varint(value)
    return content


def block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Entries, with every key whole, and no offsets for searches."""
    parts = (varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return b"".join(parts) + bytes(4)


def table(*blocks: bytes, compression: int = 0) -> bytes:
    """A table of blocks with their true checksums."""
    content, handles = b"", []
    for each in blocks:
        handles.append(varint(len(content)) + varint(len(each)))
        content += _sealed(each, compression)
    index = block([(b"%d" % number, handle) for number, handle in enumerate(handles)])
    place = varint(len(content)) + varint(len(index))
    return content + _sealed(index, 0) + (place * 2).ljust(40, b"\0") + MAGIC


def first_version(arrays: Mapping[str, Array], **changes: bytes | None) -> bytes:
    """A file of the first version. `changes` replace what it says of the slices, or the shapes, of tensors."""
    contents = [(1, _described(name, each, **changes)) for name, each in arrays.items()]
    entries = [(b"", message((1, message(*contents))))]
    entries += [(name.encode(), message((2, _saved(name, each)))) for name, each in arrays.items()]
    return table(*(block([entry]) for entry in entries))


def second_version(arrays: Mapping[str, Array], files: int = 1, endianness: int = 0) -> tuple[bytes, bytes]:
    """The index and the data of the second version."""
    entries, data = [(b"", message((1, files), (2, endianness)))], b""
    for name, each in sorted(arrays.items()):
        values = each.tobytes()
        located = ((4, len(data)), (5, len(values)), (6, masked_checksum(values)))
        entries.append((name.encode(), message((1, TYPES[each.dtype.name]), (2, shape(each.shape)), *located)))
        data += values
    return table(block(entries)), data


def shape(sides: Sequence[int]) -> bytes:
    """A TensorShapeProto."""
    return message(*((2, message((1, side))) for side in sides))


def _described(name: str, array: Array, sides: bytes | None = None, slices: bytes | None = None) -> bytes:
    whole = message(*((1, b"") for _ in array.shape))
    parts = ((2, sides or shape(array.shape)), (3, TYPES[array.dtype.name]), (4, whole if slices is None else slices))
    return message((1, name.encode()), *parts)


def _saved(name: str, array: Array) -> bytes:
    return message((1, name.encode()), (3, message((5, array.tobytes()))))


def _sealed(content: bytes, compression: int) -> bytes:
    typed = content + bytes([compression])
    return typed + masked_checksum(typed).to_bytes(4, "little")
