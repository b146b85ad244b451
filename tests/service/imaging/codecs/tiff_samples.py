"""TIFF files written tag by tag, for what no encoder writes."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from service.imaging.codecs import Pixels
from service.imaging.codecs.tiff_layout import Tag

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
FORMATS = {1: "B", SHORT: "H", LONG: "I", 16: "Q"}

Value = int | bytes | Sequence[int] | tuple[int, int, bytes]
"""Numbers (LONG), bytes (UNDEFINED), or the type, the number of values, and the four or eight bytes of an entry."""


def make_tiff(strips: Sequence[bytes], tags: Mapping[int, Value], *, big: bool = False, order: str = "<") -> bytes:
    """A TIFF or BigTIFF of 16×16 pixels, RGB of 8 bits without compression, but for those tags."""
    first = 16 if big else 8
    offsets = np.cumsum([first, *map(len, strips)])[:-1].tolist()
    values: dict[int, Value] = {
        Tag.WIDTH: 16,
        Tag.LENGTH: 16,
        Tag.BITS: [8, 8, 8],
        Tag.COMPRESSION: 1,
        Tag.PHOTOMETRIC: 2,
        Tag.STRIP_OFFSETS: offsets,
        Tag.SAMPLES: 3,
        Tag.STRIP_BYTE_COUNTS: [len(strip) for strip in strips],
        **tags,
    }
    body = b"".join(strips)
    at = first + len(body)
    head = struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, at) if big else (42, at)))
    return (b"II" if order == "<" else b"MM") + head + body + make_directory(values, at, big=big, order=order)


def grey_tags(**others: Value) -> dict[int, Value]:
    """The tags of one channel of 8 bits, and others by the names of `Tag`."""
    grey: dict[int, Value] = {Tag.BITS: 8, Tag.SAMPLES: 1, Tag.PHOTOMETRIC: 1}
    return grey | {Tag[name]: value for name, value in others.items()}


def pack_bits(values: Pixels, bits: int) -> bytes:
    """The rows of (H, W) or (H, W, C) with so many bits a value, filled up to whole bytes."""
    rows = values.reshape(len(values), -1, 1)
    digits = (rows >> np.arange(bits - 1, -1, -1, dtype=rows.dtype)) & 1
    return np.packbits(digits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def make_directory(values: Mapping[int, Value], at: int, *, big: bool, order: str) -> bytes:
    """A directory that begins at an offset, and the values that do not fit into its entries."""
    size, entry_bytes = (8, 20) if big else (4, 12)
    beyond = at + size + entry_bytes * len(values) + (8 if big else 2)
    entries, rest = b"", b""
    for tag, value in sorted(values.items()):
        if isinstance(value, tuple) and isinstance(value[-1], bytes):
            kind, count, stored = value
        else:
            kind, count, raw = _pack_values(value, order)  # type: ignore[arg-type] # a tuple that ends with bytes is above
            stored = raw.ljust(size, b"\0") if len(raw) <= size else struct.pack(order + "Q", beyond + len(rest))
            stored = stored if big or len(raw) <= size else struct.pack(order + "I", beyond + len(rest))
            rest += raw if len(raw) > size else b""
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count) + stored
    return struct.pack(order + ("Q" if big else "H"), len(values)) + entries + bytes(size) + rest


def _pack_values(value: int | bytes | Sequence[int], order: str) -> tuple[int, int, bytes]:
    if isinstance(value, bytes):
        return UNDEFINED, len(value), value
    numbers = [value] if isinstance(value, int) else list(value)
    return LONG, len(numbers), struct.pack(f"{order}{len(numbers)}I", *numbers)
