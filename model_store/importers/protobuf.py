"""The fields of a protocol buffer, by their numbers, without its schema.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

from model_store.errors import UnknownCheckpoint
from model_store.importers.varint import take_varint

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values, in their order: integers, or the bytes of text, messages and packed numbers.

    Raises UnknownCheckpoint, also later on, for what is no message.
    """
    position = 0
    while position < len(message):
        tag, position = take_varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = take_varint(message, position)
            yield number, value
        elif kind == _BYTES:
            size, position = take_varint(message, position)
            yield number, _part(message, position, size)
            position += size
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
            yield number, int.from_bytes(_part(message, position, size), "little")
            position += size
        else:
            raise UnknownCheckpoint(f"it is damaged: a message in it has a field of type {kind}")


def integers(message: memoryview, number: int) -> Iterator[int]:
    """The values of the field with that number that are integers."""
    return (value for found, value in read_fields(message) if found == number and isinstance(value, int))


def messages(message: memoryview, number: int) -> Iterator[memoryview]:
    """The values of the field with that number that are bytes."""
    return (value for found, value in read_fields(message) if found == number and isinstance(value, memoryview))


def _part(message: memoryview, position: int, size: int) -> memoryview:
    if position + size > len(message):
        raise UnknownCheckpoint("it is damaged: a message in it ends too early")
    return message[position : position + size]
