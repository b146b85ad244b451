"""GIFs of a few pixels, built block by block."""

import struct
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RED, GREEN, BLUE, YELLOW = range(4)
"""The indices of the global colour table."""

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)

CODE_BITS, CLEAR, END = 3, 4, 5
"""Codes beside the four indices. They stay that short as long as CLEAR comes before every second index."""

INTERLACED_ROWS = ((0, 8), (4, 8), (2, 4), (1, 2))
"""The first row of each pass, and the step between its rows (GIF89a, appendix E)."""

TRAILER = b";"


def gif(
    width: int, height: int, *blocks: bytes, table: bytes | None = COLOURS.tobytes(), end: bytes = TRAILER
) -> bytes:
    """A file with that screen."""
    flags = 0 if table is None else 0x80 | (len(table) // 3).bit_length() - 2
    return b"GIF89a" + struct.pack("<HHBBB", width, height, flags, 0, 0) + (table or b"") + b"".join(blocks) + end


def control(disposal: int = 0, ticks: int = 0, transparent: int | None = None) -> bytes:
    """A graphic control extension."""
    flags = disposal << 2 | (transparent is not None)
    return b"\x21\xf9\x04" + struct.pack("<BHB", flags, ticks, transparent or 0) + b"\0"


def frame(
    indices: ArrayLike, left: int = 0, top: int = 0, *, table: bytes = b"", interlaced: bool = False, **options: Any
) -> bytes:
    """A frame of indices (H, W), with its control extension where options are given."""
    stored = np.asarray(indices)
    height, width = stored.shape
    if interlaced:
        stored = np.concatenate([stored[first::step] for first, step in INTERLACED_ROWS])
    flags = (0x80 | (len(table) // 3).bit_length() - 2 if table else 0) | (0x40 if interlaced else 0)
    head = b"," + struct.pack("<4HB", left, top, width, height, flags) + table
    return (control(**options) if options else b"") + head + compress(stored.ravel())


def filled(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Indices of a frame of one colour."""
    return np.full((height, width), index, np.uint8)


def compress(indices: ArrayLike) -> bytes:
    """Write indices up to 3 as codes, in sub-blocks."""
    codes: list[int] = []
    for at, index in enumerate(np.asarray(indices).tolist()):
        codes += [CLEAR, index] if at % 2 == 0 else [index]
    bits = sum(code << CODE_BITS * at for at, code in enumerate([*codes, END]))
    packed = bits.to_bytes((CODE_BITS * (len(codes) + 1) + 7) // 8, "little")
    blocks = (packed[at : at + 255] for at in range(0, len(packed), 255))
    return bytes([CODE_BITS - 1]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
