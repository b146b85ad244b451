"""The structure of a GIF (GIF89a specification), as far as it must be known before a frame is decoded."""

import struct
from collections.abc import Iterator

from service.errors import CorruptImage

SCREEN, DESCRIPTOR = struct.Struct("<6xHHB2x"), struct.Struct("<4HB")
EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
HAS_COLOURS, COLOURS = 0x80, 0x07
"""Of flags: whether a table of colours follows, and its size."""


def frame_count(data: bytes) -> int:
    """How many frames a GIF has; raises CorruptImage where one of them is not within the whole picture.

    Decoders make room for whatever a frame says of itself, so that it is checked before. Of a file that ends too early
    those count that begin.
    """
    width, height, _ = SCREEN.unpack_from(data)
    count = 0
    for left, top, across, down in _frames(data):
        count += 1
        if count > 1 and (left + across > width or top + down > height):
            raise CorruptImage(f"frame {count} of the image is not within its {width}×{height} pixels; save it anew")
    return max(1, count)


def _frames(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, width and height of each."""
    at = SCREEN.size + _table(data[10])
    try:
        while data[at] != TRAILER:
            if data[at] == IMAGE:
                *extent, flags = DESCRIPTOR.unpack_from(data, at + 1)
                yield extent[0], extent[1], extent[2], extent[3]
                at = _after_blocks(data, at + 1 + DESCRIPTOR.size + _table(flags) + 1)
            else:
                at = _after_blocks(data, at + 2) if data[at] == EXTENSION else at + 1
    except (IndexError, struct.error):
        return


def _table(flags: int) -> int:
    """Bytes of the table of colours."""
    return 3 << (flags & COLOURS) + 1 if flags & HAS_COLOURS else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Where a sequence of blocks ends that begins there: each has its length before it, the last one none."""
    while data[at]:
        at += 1 + data[at]
    return at + 1
