"""Values of any kind handed from one process to another in a segment of shared memory.

A segment is a file without a name, of which the descriptor is sent through a socket; it is freed when the last process
has closed it, also where one was killed. It holds a table of offsets and lengths, the pickled value, and the buffers of
its arrays (pickle protocol 5, PEP 574), each of which is copied once, by the sender, and read where it lies.
"""

import mmap
import os
import pickle
import struct
import tempfile
from collections.abc import Sequence

ALIGNMENT = 64
"""Bytes to which blocks are aligned: a line of the processors' caches."""

COUNT = struct.Struct("<Q")
SPAN = struct.Struct("<QQ")
"""The offset and the length of a block, in bytes."""

Blocks = Sequence[memoryview]


def write_segment(value: object) -> int:
    """Write a value into a new segment, and return its descriptor, which the caller closes.

    Raises OSError where there is no memory, or no descriptor, for it.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = memoryview(pickle.dumps(value, protocol=5, buffer_callback=buffers.append))
    blocks = [pickled, *(buffer.raw() for buffer in buffers)]
    descriptor = _open_segment()
    try:
        _write_blocks(descriptor, blocks)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_segment(descriptor: int) -> object:
    """The value in a segment. Its arrays lie in the segment and keep it alive; writing to them changes it.

    Pickled data is trusted: it comes from another process of this service. The descriptor stays open.
    """
    segment = memoryview(mmap.mmap(descriptor, 0))
    (count,) = COUNT.unpack_from(segment)
    spans = (SPAN.unpack_from(segment, COUNT.size + index * SPAN.size) for index in range(count))
    pickled, *buffers = (segment[offset : offset + length] for offset, length in spans)
    return pickle.loads(pickled, buffers=buffers)


def _open_segment() -> int:
    """A new, empty file without a name; where there is no memfd_create(2), on the disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pastiche")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write_blocks(descriptor: int, blocks: Blocks) -> None:
    end = COUNT.size + len(blocks) * SPAN.size
    table = [COUNT.pack(len(blocks))]
    offsets = []
    for block in blocks:
        offsets.append(-(-end // ALIGNMENT) * ALIGNMENT)
        table.append(SPAN.pack(offsets[-1], len(block)))
        end = offsets[-1] + len(block)
    os.ftruncate(descriptor, end)
    for offset, block in zip((0, *offsets), (memoryview(b"".join(table)), *blocks), strict=True):
        _write_block(descriptor, block, offset)


def _write_block(descriptor: int, block: memoryview, offset: int) -> None:
    """Write a whole block; one call writes 2 GiB at the most (pwrite(2))."""
    written = 0
    while written < len(block):
        written += os.pwrite(descriptor, block[written:], offset + written)
