"""Values of any kind as one run of bytes, without copies of their arrays before they are written.

It holds a table of offsets and lengths, the pickled value, and the buffers of its arrays (pickle protocol 5, PEP 574),
which are read where they lie.
"""

import pickle
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

ALIGNMENT = 64
"""Bytes to which blocks are aligned: a line of the processors' caches."""

COUNT = struct.Struct("<Q")
SPAN = struct.Struct("<QQ")
"""The offset and the length of a block, in bytes."""

Parts = Sequence[memoryview]
"""Bytes that follow one another."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Pickled(Generic[Value]):
    """A value that a process may pass on to another one without reading it."""

    content: bytes
    buffers: tuple[memoryview | pickle.PickleBuffer, ...]
    """Of its arrays."""

    @classmethod
    def of(cls, value: Value) -> "Pickled[Value]":
        """Pickle a value, whose arrays are not copied."""
        buffers: list[pickle.PickleBuffer] = []
        content = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        return cls(content, tuple(buffers))

    def load(self) -> Value:
        """The value. Its pickled data is trusted: see `from_bytes`."""
        value: Value = pickle.loads(self.content, buffers=self.buffers)
        return value

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """With buffers that are passed on as such, though they have arrived as views of memory."""
        return type(self), (self.content, tuple(map(pickle.PickleBuffer, self.buffers)))


def to_parts(value: object) -> Parts:
    """The bytes of a value: the table, and blocks with what lies between them; its arrays are those of the value."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = memoryview(pickle.dumps(value, protocol=5, buffer_callback=buffers.append))
    blocks = [pickled, *(buffer.raw() for buffer in buffers)]
    end = COUNT.size + len(blocks) * SPAN.size
    table, between = [COUNT.pack(len(blocks))], []
    for block in blocks:
        between.append(memoryview(bytes(-end % ALIGNMENT)))
        table.append(SPAN.pack(end + len(between[-1]), len(block)))
        end += len(between[-1]) + len(block)
    return [memoryview(b"".join(table)), *(part for pair in zip(between, blocks, strict=True) for part in pair)]


def from_bytes(content: memoryview) -> object:
    """The value of these bytes, whose arrays lie in them and keep them alive.

    Pickled data is trusted: it comes from another process of this service.
    """
    pickled, *buffers = _blocks(content)
    return pickle.loads(pickled, buffers=buffers)


def _blocks(content: memoryview) -> Iterator[memoryview]:
    (count,) = COUNT.unpack_from(content)
    for index in range(count):
        offset, length = SPAN.unpack_from(content, COUNT.size + index * SPAN.size)
        yield content[offset : offset + length]
