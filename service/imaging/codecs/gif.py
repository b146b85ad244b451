"""The blocks of a GIF (GIF89a): what its frames need, without their pixels."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import CorruptImage

SCREEN, DESCRIPTOR, CONTROL = struct.Struct("<6xHHB2x"), struct.Struct("<4HB"), struct.Struct("<BHB")
"""The header with the logical screen descriptor, an image descriptor, and the data of a graphic control extension
(GIF89a, sections 17, 18, 20 and 23)."""

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
"""The first bytes of blocks."""

CONTROL_LABEL = 0xF9

CONTROL_HEAD = bytes((CONTROL_LABEL, CONTROL.size))
"""What a graphic control extension begins with: its label, and the length of its data."""

LOOP_HEADS = (b"\xff\x0bNETSCAPE2.0\x03\x01", b"\xff\x0bANIMEXTS1.0\x03\x01")
"""What an extension begins with that has the number of repetitions: its label, a program, and what is said."""

XMP_HEAD = b"\xff\x0bXMP DataXMP"
XMP_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
"""What an extension with XMP begins and ends with. The packet is not cut into sub-blocks; wherever a reader that skips
sub-blocks lands in the trailing bytes, it is led to the last one (ISO 16684-3)."""

HAS_COLOUR_TABLE, INTERLACED, COLOUR_TABLE_SIZE = 0x80, 0x40, 0x07
"""Masks of packed fields: whether a colour table follows, the order of rows, and the exponent of the table's size."""

HAS_TRANSPARENCY, DISPOSAL_SHIFT, DISPOSAL_MASK = 0x01, 2, 0x07
"""Of the packed field of a graphic control extension."""

TICK = 10
"""Milliseconds: the unit of durations (GIF89a, section 23)."""

MAX_BLOCKS, MAX_SUB_BLOCKS = 2**16, 2**20
"""In a file; a sub-block has up to 255 bytes, so that a sound file of 250 MB has fewer."""

MAX_OVERHANG, ALWAYS_DECODED = 4, 2**20
"""A frame may take so many times the pixels of the screen, or this many. Decoders make room for whatever size a frame
claims, even where most of it is not shown."""


class GraphicControl(NamedTuple):
    """How a frame is shown (GIF89a, section 23)."""

    disposal: int = 0
    """What becomes of the frame before the next one is drawn."""
    milliseconds: int = 0
    transparent_index: int | None = None


@dataclass(frozen=True)
class GifFrame:
    """A frame, whose pixels are indices into a colour table."""

    left: int
    top: int
    width: int
    height: int
    interlaced: bool
    colour_table: bytes
    """Three bytes for each colour; empty where the file has no table."""
    compressed: slice
    """Where the pixels are in the file: the size of their codes, and sub-blocks."""
    control: GraphicControl

    def count_rows(self, screen_height: int) -> int:
        """How many rows must be decoded for those that are shown: all where they are in another order."""
        return self.height if self.interlaced else max(0, min(self.height, screen_height - self.top))


@dataclass(frozen=True)
class Layout:
    """What is known of a GIF before its frames are decoded."""

    width: int
    height: int
    frames: int
    first: GifFrame

    @property
    def has_alpha(self) -> bool:
        """Whether the first frame may leave pixels transparent."""
        covers = (self.first.width, self.first.height) == (self.width, self.height)
        return self.first.control.transparent_index is not None or not covers

    @property
    def is_grey(self) -> bool:
        """Whether the indices of the first frame are greys themselves."""
        table = self.first.colour_table
        return table[::3] == table[1::3] == table[2::3] == bytes(range(len(table) // 3))


def read_layout(data: bytes) -> Layout:
    """Count the frames, and check what room they take. Of a truncated file the frames that begin are counted.

    As in browsers, a screen is at least as large as the first frame needs. Raises CorruptImage.
    """
    width, height, _ = _read_screen(data)
    count, first = 0, None
    for frame in iterate_frames(data):
        count += 1
        if first is None:
            first = frame
            width, height = max(width, frame.left + frame.width), max(height, frame.top + frame.height)
        if frame.width * frame.count_rows(height) > max(MAX_OVERHANG * width * height, ALWAYS_DECODED):
            what = f"frame {count} of the gif image has {frame.width}×{frame.height} pixels"
            raise CorruptImage(f"{what}, far more than the {width}×{height} that are shown; save it anew")
    if first is None or not width or not height:
        raise CorruptImage("the gif image has no picture; send a complete file")
    return Layout(width, height, count, first)


def iterate_frames(data: bytes) -> Iterator[GifFrame]:
    """Yield the frames. What stands between blocks is skipped, and the end of the file needs no mark.

    Raises CorruptImage for a file that is shorter than its header, or ends where a frame has begun.
    """
    flags = _read_screen(data)[2]
    table, control = _read_colour_table(data, SCREEN.size, flags), GraphicControl()
    for kind, at, end in _iterate_blocks(data):
        if kind == IMAGE:
            yield _read_frame(data, at, end, table, control)
            control = GraphicControl()  # it counts for one frame
        elif data.startswith(CONTROL_HEAD, at):
            control = _read_control(data, at + len(CONTROL_HEAD))
        if kind == EXTENSION and data[at : at + 1] == bytes((CONTROL_LABEL,)) and end >= len(data):
            raise _ends_in_frame()


def read_loop_count(data: bytes) -> int:
    """How often an animation is played, 0 for ever. A file says how often it is repeated, and nothing for never."""
    loop_count = 1
    for _, at, end in _iterate_blocks(data):
        head = next((head for head in LOOP_HEADS if data.startswith(head, at)), None)
        if head and at + len(head) + 2 <= end:
            repetitions = int.from_bytes(data[at + len(head) : at + len(head) + 2], "little")
            loop_count = repetitions and repetitions + 1
    return loop_count


def read_xmp(data: bytes) -> bytes | None:
    """The first whole XMP packet; None where there is none. Raises CorruptImage for too many blocks."""
    for _, at, end in _iterate_blocks(data):
        if data.startswith(XMP_HEAD, at) and data.endswith(XMP_TRAILER, at + len(XMP_HEAD), end):
            return data[at + len(XMP_HEAD) : end - len(XMP_TRAILER)]
    return None


def _read_screen(data: bytes) -> tuple[int, int, int]:
    """Width, height and the packed field."""
    if len(data) < SCREEN.size:
        raise CorruptImage("the header of the gif image is broken; send a complete file")
    width, height, flags = SCREEN.unpack_from(data)
    return width, height, flags


def _iterate_blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield extensions and images whose header is whole: the first byte of a block, the offset after it, and its end.

    Ends at the trailer, or where the file does. Raises CorruptImage for more than MAX_BLOCKS or MAX_SUB_BLOCKS, and for
    an image whose header is not whole.
    """
    at, blocks, sub_blocks = SCREEN.size + _count_colour_table_bytes(data[SCREEN.size - 3]), 0, 0
    while at < len(data) and (kind := data[at]) != TRAILER:
        begin = at = at + 1
        if kind == IMAGE:
            if begin + DESCRIPTOR.size > len(data):
                raise _ends_in_frame()
            table = _count_colour_table_bytes(data[begin + DESCRIPTOR.size - 1])
            at, count = _skip_sub_blocks(data, begin + DESCRIPTOR.size + table + 1)
        elif kind == EXTENSION:
            at, count = _skip_sub_blocks(data, begin + 1)
        else:
            continue
        blocks, sub_blocks = blocks + 1, sub_blocks + count
        if blocks > MAX_BLOCKS or sub_blocks > MAX_SUB_BLOCKS:
            raise CorruptImage(f"the gif image has more than {MAX_BLOCKS} blocks, or too small ones; save it anew")
        yield kind, begin, at


def _ends_in_frame() -> CorruptImage:
    return CorruptImage("the gif image ends where a frame begins; send a complete file")


def _skip_sub_blocks(data: bytes, at: int) -> tuple[int, int]:
    """The offset after a sequence of sub-blocks, and how many it passed: MAX_SUB_BLOCKS and one more at the most.

    Each begins with its length. An empty one ends them, or the file.
    """
    for count in range(MAX_SUB_BLOCKS + 1):
        if at >= len(data):
            return len(data), count
        if not data[at]:
            return at + 1, count
        at += 1 + data[at]
    return at, MAX_SUB_BLOCKS + 1


def _read_frame(data: bytes, at: int, end: int, table: bytes, control: GraphicControl) -> GifFrame:
    left, top, width, height, flags = DESCRIPTOR.unpack_from(data, at)
    begin = at + DESCRIPTOR.size
    own_table = _read_colour_table(data, begin, flags)
    compressed = slice(begin + len(own_table), end)
    return GifFrame(left, top, width, height, bool(flags & INTERLACED), own_table or table, compressed, control)


def _read_colour_table(data: bytes, at: int, flags: int) -> bytes:
    return data[at : at + _count_colour_table_bytes(flags)]


def _count_colour_table_bytes(flags: int) -> int:
    return 3 << (flags & COLOUR_TABLE_SIZE) + 1 if flags & HAS_COLOUR_TABLE else 0


def _read_control(data: bytes, at: int) -> GraphicControl:
    """The default for an extension that the file ends in."""
    if at + CONTROL.size > len(data):
        return GraphicControl()
    flags, ticks, index = CONTROL.unpack_from(data, at)
    disposal = flags >> DISPOSAL_SHIFT & DISPOSAL_MASK
    return GraphicControl(disposal, TICK * ticks, index if flags & HAS_TRANSPARENCY else None)
