"""The block structure of a GIF (GIF89a), as far as it must be checked before a frame is decoded."""

import struct
from collections.abc import Iterator
from itertools import islice

from service.errors import CorruptImage

SCREEN, DESCRIPTOR = struct.Struct("<6xHHB2x"), struct.Struct("<4HB")
"""The header with the logical screen descriptor, and an image descriptor (GIF89a, sections 17, 18 and 20)."""

SIZE, SIZE_OFFSET, MAX_SIDE = struct.Struct("<HH"), 6, 65_535
"""Width and height of the logical screen: how and where they are stored, and the most that they can be."""

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
"""The first bytes of blocks."""

HAS_COLOUR_TABLE, COLOUR_TABLE_SIZE = 0x80, 0x07
"""Masks of the packed fields: whether a colour table follows, and the exponent of its size."""


MAX_OUTSIDE = 2**22
"""How many pixels frames may have outside the screen: decoders allocate memory for whatever size a frame claims."""


def count_frames(data: bytes) -> int:
    """Count the frames of a GIF, at least 1. Of a truncated file the frames that begin are counted."""
    return max(1, sum(1 for _ in _frame_rectangles(data)))


def read_screen(data: bytes) -> tuple[int, int]:
    """Width and height of what is shown: the logical screen, and at least the first frame, as in browsers.

    Raises CorruptImage for a file that is shorter than its header.
    """
    if len(data) < SCREEN.size:
        raise CorruptImage("the header of the gif image is broken; send a complete file")
    width, height, _ = SCREEN.unpack_from(data)
    for left, top, frame_width, frame_height in islice(_frame_rectangles(data), 1):
        width, height = max(width, left + frame_width), max(height, top + frame_height)
    return width, height


def widen_screen(data: bytes) -> bytes:
    """The file with a screen that holds all of its frames, to decode and then crop to the size of `read_screen`.

    Raises CorruptImage where frames lie far outside the screen, or for a file that is shorter than its header.
    """
    shown_width, shown_height = read_screen(data)
    width, height = shown_width, shown_height
    for index, (left, top, frame_width, frame_height) in enumerate(_frame_rectangles(data)):
        width, height = max(width, left + frame_width), max(height, top + frame_height)
        if max(width, height) > MAX_SIDE or width * height - shown_width * shown_height > MAX_OUTSIDE:
            raise CorruptImage(
                f"frame {index + 1} of the image lies far outside its {shown_width}×{shown_height} pixels; save it anew"
            )
    return data[:SIZE_OFFSET] + SIZE.pack(width, height) + data[SIZE_OFFSET + SIZE.size :]


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
