"""The boxes of AVIF and HEIC (ISO/IEC 14496-12; ISO/IEC 23008-12): properties of the picture, and where metadata is."""

import struct
from collections.abc import Collection, Iterator
from fractions import Fraction
from typing import NamedTuple

from service.imaging.codecs.cicp import CodePoints

MAX_BOXES = 2**12
"""So many boxes of a container are followed: files have some dozens, those of tiled images some thousands."""

FULL_BOX_BYTES = 4
"""Version and flags."""

METADATA_TYPES = (b"mime", b"Exif")
"""Item types of metadata: XMP, which is of MIME type application/rdf+xml, and EXIF."""

TYPE_OFFSETS = {2: 8, 3: 10}
"""Where infe has the type, by its version."""

HIDDEN_TYPE = b"skip"

AV1_BITS = (8, 8, 10, 12)
"""Bits a sample, by the flags high_bitdepth and twelve_bit of av1C."""

Range = tuple[int, int]
"""Begin and end of the contents of a box."""


class Crop(NamedTuple):
    """A part of a picture, in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def read_code_points(data: bytes) -> CodePoints | None:
    """The code points of the primary item (a colr box of type nclx); None where it has none, or boxes are broken."""
    for colours in _read_properties(data, b"colr"):
        if colours[:4] == b"nclx" and len(colours) >= 8:
            return CodePoints(*struct.unpack_from(">HH", colours, 4))
    return None


def read_bits(data: bytes) -> int:
    """Bits a sample of the primary item (pixi, or else av1C); 8 where neither says it, or boxes are broken."""
    for channels in _read_properties(data, b"pixi"):
        if len(channels) > FULL_BOX_BYTES + 1:
            return max(channels[FULL_BOX_BYTES + 1 :])
    for codec in _read_properties(data, b"av1C"):
        if len(codec) > 2:
            return AV1_BITS[codec[2] >> 5 & 3]
    return 8


def read_crop(data: bytes, width: int, height: int) -> Crop | None:
    """The clean aperture (clap) of the primary item, whose stored size is given.

    None where it has none, or one that is not of whole pixels within the picture.
    """
    apertures = _read_properties(data, b"clap")
    try:
        return _parse_aperture(apertures[0], width, height) if apertures else None
    except (struct.error, ZeroDivisionError):
        return None


def hide_items(data: bytes, types: Collection[bytes] = METADATA_TYPES) -> bytes:
    """The file with items of those types renamed, so that no decoder reads them."""
    result = bytearray(data)
    for place in _find_item_types(data):
        if data[place : place + 4] in types:
            result[place : place + 4] = HIDDEN_TYPE
    return bytes(result)


def _parse_aperture(box: bytes, width: int, height: int) -> Crop | None:
    """The crop of a clap box, which has the size, and the distance of its centre from that of the picture."""
    numbers = struct.unpack_from(">IIIIiIiI", box)
    wide, high, right, down = (Fraction(*numbers[at : at + 2]) for at in range(0, len(numbers), 2))
    left, top = (width - wide) / 2 + right, (height - high) / 2 + down
    is_whole = all(edge.denominator == 1 for edge in (left, top, wide, high))
    fits = 0 <= left < left + wide <= width and 0 <= top < top + high <= height
    return Crop(int(left), int(top), int(wide), int(high)) if is_whole and fits else None


def _read_properties(data: bytes, kind: bytes) -> list[bytes]:
    """The contents of the properties of that type which the primary item has; none where boxes are broken."""
    try:
        return [data[begin:end] for name, (begin, end) in _find_properties(data) if name == kind]
    except (IndexError, struct.error):
        return []


def _find_properties(data: bytes) -> list[tuple[bytes, Range]]:
    """Type and contents of the properties of the primary item, in the order in which they are applied."""
    meta = _find_path(data, (0, len(data)), b"meta")
    properties = meta and _find_path(data, meta, b"iprp", b"ipco")
    if not meta or not properties:
        return []
    boxes = list(_iterate_boxes(data, properties))
    return [boxes[index - 1] for index in _find_associations(data, meta) if 0 < index <= len(boxes)]


def _find_item_types(data: bytes) -> Iterator[int]:
    """Yield the offsets of the types of all items (infe, which has them from version 2 on)."""
    infos = _find_path(data, (0, len(data)), b"meta", b"iinf")
    if not infos or infos[0] >= len(data):
        return
    begin, end = infos
    first = begin + FULL_BOX_BYTES + (2 if data[begin] == 0 else 4)
    for kind, (at, box_end) in _iterate_boxes(data, (first, end)):
        if kind == b"infe" and at < box_end and data[at] in TYPE_OFFSETS:
            yield at + TYPE_OFFSETS[data[at]]


def _find_associations(data: bytes, meta: Range) -> list[int]:
    """The indices of the properties of the primary item, from 1 (ipma)."""
    primary, box = _find_path(data, meta, b"pitm"), _find_path(data, meta, b"iprp", b"ipma")
    if not primary or not box:
        return []
    item = int.from_bytes(data[primary[0] + FULL_BOX_BYTES : primary[0] + (6 if data[primary[0]] == 0 else 8)])
    return next((found for identifier, found in _iterate_associations(data, box) if identifier == item), [])


def _iterate_associations(data: bytes, box: Range) -> Iterator[tuple[int, list[int]]]:
    """Yield every item, and the indices of its properties."""
    at, end = box
    id_bytes, index_bytes = (2 if data[at] == 0 else 4), (2 if data[at + 3] & 1 else 1)
    at += FULL_BOX_BYTES + 4
    while at + id_bytes < end:
        item, count = int.from_bytes(data[at : at + id_bytes]), data[at + id_bytes]
        at += id_bytes + 1
        indices = (data[i : i + index_bytes] for i in range(at, min(at + count * index_bytes, end), index_bytes))
        essential = 1 << 8 * index_bytes - 1
        yield item, [int.from_bytes(index) & ~essential for index in indices]
        at += count * index_bytes


def _find_path(data: bytes, within: Range, *path: bytes) -> Range | None:
    """The contents of a box in a box …; of `meta`, which is a full box, without version and flags."""
    found: Range | None = within
    for name in path:
        boxes = _iterate_boxes(data, found) if found else ()
        found = next((contents for kind, contents in boxes if kind == name), None)
        if found and name == b"meta":
            found = (found[0] + FULL_BOX_BYTES, found[1])
    return found


def _iterate_boxes(data: bytes, within: Range) -> Iterator[tuple[bytes, Range]]:
    """Yield type and contents of the boxes that are wholly within a range."""
    at, end = within
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        box_end = at + size if size else end
        if size and size < head:
            return
        yield kind, (at + head, min(box_end, end))
        at = box_end
