"""Pixels as they are in memory, put into a file for the codecs and taken out of one: a TIFF without compression."""

import struct
from typing import NamedTuple

from tifffile import COMPRESSION, PHOTOMETRIC

from service.imaging.codecs.tiff_layout import Tag, read_layout
from service.imaging.sizes import Size

CHANNELS = 3
"""Red, green and blue."""

HEADER = struct.Struct("<2sHI")
COUNT = struct.Struct("<H")
ENTRY = struct.Struct("<HHII")
END = struct.Struct("<I")
BITS = struct.Struct(f"<{CHANNELS}H")

VERSION = 42
SHORT, LONG = 3, 4
"""The types of a tag's values (TIFF 6.0, section 2)."""


class RawPixels(NamedTuple):
    """The pixels of an uncompressed picture: `size.pixels` times its channels, uint8, by rows."""

    size: Size
    channels: int
    values: memoryview


def wrap_pixels(values: bytes | memoryview, size: Size) -> bytes:
    """A file of RGB pixels, uint8 (H, W, 3) in C order, which `inspect` and `decode` read.

    Raises ValueError for another number of values.
    """
    if len(values) != size.pixels * CHANNELS:
        raise ValueError(f"{size} has {size.pixels * CHANNELS} values, not {len(values)}")
    return b"".join((_head(size), values))


def unwrap_pixels(content: bytes) -> RawPixels:
    """The pixels of a file that `encode` has written as a TIFF of 8 bits without compression. They are not copied."""
    layout = read_layout(content)
    (strip,) = layout.segments(frozenset())
    values = memoryview(content)[strip.offset : strip.offset + strip.size]
    return RawPixels(Size(layout.height, layout.width), layout.samples, values)


def _head(size: Size) -> bytes:
    """Header and directory, behind which the pixels begin."""
    directory_end = HEADER.size + COUNT.size + 9 * ENTRY.size + END.size
    tags = (
        (Tag.WIDTH, LONG, 1, size.width),
        (Tag.LENGTH, LONG, 1, size.height),
        (Tag.BITS, SHORT, CHANNELS, directory_end),
        (Tag.COMPRESSION, SHORT, 1, COMPRESSION.NONE),
        (Tag.PHOTOMETRIC, SHORT, 1, PHOTOMETRIC.RGB),
        (Tag.STRIP_OFFSETS, LONG, 1, directory_end + BITS.size),
        (Tag.SAMPLES, SHORT, 1, CHANNELS),
        (Tag.ROWS_PER_STRIP, LONG, 1, size.height),
        (Tag.STRIP_BYTE_COUNTS, LONG, 1, size.pixels * CHANNELS),
    )
    entries = b"".join(ENTRY.pack(*tag) for tag in tags)
    return b"".join(
        (
            HEADER.pack(b"II", VERSION, HEADER.size),
            COUNT.pack(len(tags)),
            entries,
            END.pack(0),
            BITS.pack(*[8] * CHANNELS),
        )
    )
