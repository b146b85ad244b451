"""Reads tables of sorted keys and values as LevelDB lays them out, which TensorFlow keeps its checkpoints in.

A table is blocks, an index of them that is a block too, and a footer that says where the index is. A block is entries,
whose keys leave out what they begin with as the key before them does; then, for searches, offsets of entries; and after
it, its compression and its checksum. https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from collections.abc import Iterator
from dataclasses import dataclass

from model_store.errors import MissingExtra, UnknownCheckpoint
from model_store.importers.varint import take_varint

MAGIC = bytes.fromhex("57fb808b247547db")
"""The end of every table."""

_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
"""After a block: one of its compression, four of its checksum."""

_MOST_KEY_BYTES = 4096
_MASK = 0xA282EAD8
"""Added to a rotated checksum, so that that of data with checksums in it is none of them."""


@dataclass(frozen=True)
class _Handle:
    """Where a block is."""

    offset: int
    size: int


def read_table(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values, in their order. Raises UnknownCheckpoint, also later on, for what is damaged or compressed.

    Raises MissingExtra without google-crc32c.
    """
    if len(content) < _FOOTER_BYTES or not content.endswith(MAGIC):
        raise UnknownCheckpoint("it is no table of TensorFlow's, or ends too early")
    footer = memoryview(content)[-_FOOTER_BYTES:]
    _, position = _handle(footer, 0)
    index, _ = _handle(footer, position)
    end = 0
    for _, value in _entries(_block(content, index)):
        handle, _ = _handle(value, 0)
        if handle.offset < end:
            raise UnknownCheckpoint("blocks of its table overlap")
        end = handle.offset + handle.size
        yield from _entries(_block(content, handle))


def masked_checksum(data: bytes) -> int:
    """CRC-32C as tables and checkpoints store it. Raises MissingExtra without google-crc32c."""
    try:
        from google_crc32c import value  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise MissingExtra("checkpoints of TensorFlow need google-crc32c: pip install 'pastiche[import]'") from error
    checksum: int = value(data)
    return ((checksum >> 15 | checksum << 17) + _MASK) % 2**32


def _handle(data: memoryview, position: int) -> tuple[_Handle, int]:
    offset, position = take_varint(data, position)
    size, position = take_varint(data, position)
    return _Handle(offset, size), position


def _block(content: bytes, handle: _Handle) -> memoryview:
    end = handle.offset + handle.size
    if end + _TRAILER_BYTES > len(content) - _FOOTER_BYTES:
        raise UnknownCheckpoint("a block of its table lies beyond its end")
    compression = content[end]
    if masked_checksum(content[handle.offset : end + 1]) != int.from_bytes(content[end + 1 : end + 5], "little"):
        raise UnknownCheckpoint("it is damaged: a checksum of its table is wrong")
    if compression:
        kind = "by snappy" if compression == 1 else f"in a way with the number {compression}"
        raise UnknownCheckpoint(f"its table is compressed {kind}; tables that are not compressed are read")
    return memoryview(content)[handle.offset : end]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    key, position, end = b"", 0, _end_of_entries(block)
    while position < end:
        shared, position = take_varint(block, position)
        unshared, position = take_varint(block, position)
        size, position = take_varint(block, position)
        value = position + unshared
        if shared > len(key) or value + size > end:
            raise UnknownCheckpoint("an entry of its table lies beyond its block")
        if shared + unshared > _MOST_KEY_BYTES:
            raise UnknownCheckpoint(f"its table has a key of more than {_MOST_KEY_BYTES} bytes")
        key = key[:shared] + bytes(block[position:value])
        yield key, block[value : value + size]
        position = value + size


def _end_of_entries(block: memoryview) -> int:
    """Where the offsets for searches begin: four bytes each, and four for their number."""
    end = len(block) - 4 * (1 + int.from_bytes(block[-4:], "little"))
    if len(block) < 4 or end < 0:
        raise UnknownCheckpoint("a block of its table is shorter than what ends it")
    return end
