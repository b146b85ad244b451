"""AVIF and HEIC files with further properties."""

import struct
from collections.abc import Sequence

Box = tuple[int, int]
"""Begin and end, with the head."""

META_HEAD, FULL_HEAD = 12, 12
"""Bytes of the heads of full boxes: size, type, version and flags."""


def box(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(contents), kind) + contents


def clean_aperture(width: int, height: int, right: float = 0, down: float = 0) -> bytes:
    """A clap box, whose centre is so many pixels from that of the picture, halves allowed."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, round(2 * right), 2, round(2 * down), 2))


def rotation(quarters: int) -> bytes:
    """An irot box: turned anticlockwise."""
    return box(b"irot", bytes([quarters]))


def mirroring(axis: int) -> bytes:
    """An imir box: 0 exchanges top and bottom, 1 left and right."""
    return box(b"imir", bytes([axis]))


def with_properties(data: bytes, boxes: Sequence[bytes], item: int = 1) -> bytes:
    """The file, with meta before mdat, with essential properties of an item after its others."""
    meta = _find(data, (0, len(data)), b"meta")
    iprp = _find(data, (meta[0] + META_HEAD, meta[1]), b"iprp")
    ipco, ipma = (_find(data, (iprp[0] + 8, iprp[1]), kind) for kind in (b"ipco", b"ipma"))
    first = sum(1 for _ in _boxes(data, (ipco[0] + 8, ipco[1]))) + 1
    indices = bytes(0x80 | first + at for at in range(len(boxes)))
    container = box(b"ipco", data[ipco[0] + 8 : ipco[1]] + b"".join(boxes))
    associations = box(b"ipma", _associate(data[ipma[0] + 8 : ipma[1]], item, indices))
    properties = box(b"iprp", container + associations)
    added = len(properties) - (iprp[1] - iprp[0])
    contents = data[meta[0] + 8 : iprp[0]] + properties + data[iprp[1] : meta[1]]
    changed = data[: meta[0]] + box(b"meta", contents) + data[meta[1] :]
    return _move_items(changed, meta[0], added)


def _associate(ipma: bytes, item: int, indices: bytes) -> bytes:
    """The contents of ipma, version 0 with indices of one byte, with further properties of that item."""
    at = 8
    while struct.unpack_from(">H", ipma, at)[0] != item:
        at += 3 + ipma[at + 2]
    end = at + 3 + ipma[at + 2]
    return ipma[: at + 2] + bytes([ipma[at + 2] + len(indices)]) + ipma[at + 3 : end] + indices + ipma[end:]


def _move_items(data: bytes, meta: int, by: int) -> bytes:
    """Add to the offsets of iloc that are not relative to idat."""
    whole = bytearray(data)
    iloc = _find(data, (meta + META_HEAD, len(data)), b"iloc")[0]
    version, sizes, others = data[iloc + 8], data[iloc + FULL_HEAD], data[iloc + FULL_HEAD + 1]
    assert version < 2
    assert sizes == 0x44
    base = others >> 4
    (count,) = struct.unpack_from(">H", data, iloc + 14)
    at = iloc + 16
    for _ in range(count):
        in_file = version == 0 or data[at + 3] & 15 == 0
        at += (4 if version == 0 else 6) + base
        (extents,) = struct.unpack_from(">H", data, at)
        for extent in range(at + 2, at + 2 + 8 * extents, 8):
            (offset,) = struct.unpack_from(">I", data, extent)
            struct.pack_into(">I", whole, extent, offset + by * in_file)
        at += 2 + 8 * extents
    return bytes(whole)


def _find(data: bytes, within: Box, kind: bytes) -> Box:
    return next(found for name, found in _boxes(data, within) if name == kind)


def _boxes(data: bytes, within: Box) -> list[tuple[bytes, Box]]:
    at, found = within[0], []
    while at < within[1]:
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, (at, at + size)))
        at += size
    return found
