"""The block structure of a GIF (GIF89a), as far as it must be checked before a frame is decoded."""

import struct
from collections.abc import Iterator

from service.errors import CorruptImage

SCREEN, DESCRIPTOR = struct.Struct("<6xHHB2x"), struct.Struct("<4HB")
"""The header with the logical screen descriptor, and an image descriptor (GIF89a, sections 17, 18 and 20)."""

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
"""The first bytes of blocks."""

HAS_COLOUR_TABLE, COLOUR_TABLE_SIZE = 0x80, 0x07
"""Masks of the packed fields: whether a colour table follows, and the exponent of its size."""


def count_frames(data: bytes) -> int:
    """Count the frames of a GIF, at least 1. Raises CorruptImage where one lies outside the logical screen.

    Decoders allocate memory for whatever size a frame claims. Of a truncated file the frames that begin are counted.
    """
    screen_width, screen_height, _ = SCREEN.unpack_from(data)
    count = 0
    for left, top, width, height in _frame_rectangles(data):
        count += 1
        if count > 1 and (left + width > screen_width or top + height > screen_height):
            raise CorruptImage(
                f"frame {count} of the image is not within its {screen_width}×{screen_height} pixels; save it anew"
            )
    return max(1, count)


def _frame_rectangles(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield left, top, width and height of every frame; ends where the file does, however early."""
    at = SCREEN.size + _colour_table_bytes(data[10])
    try:
        while data[at] != TRAILER:
            if data[at] == IMAGE:
                left, top, width, height, flags = DESCRIPTOR.unpack_from(data, at + 1)
                yield left, top, width, height
                at = _skip_sub_blocks(data, at + 1 + DESCRIPTOR.size + _colour_table_bytes(flags) + 1)
            else:
                at = _skip_sub_blocks(data, at + 2) if data[at] == EXTENSION else at + 1
    except (IndexError, struct.error):
        return


def _colour_table_bytes(flags: int) -> int:
    return 3 << (flags & COLOUR_TABLE_SIZE) + 1 if flags & HAS_COLOUR_TABLE else 0


def _skip_sub_blocks(data: bytes, at: int) -> int:
    """The offset after a sequence of sub-blocks: each begins with its length, and an empty one ends them."""
    while data[at]:
        at += 1 + data[at]
    return at + 1
