"""The segments before the first scan of a JPEG (ITU-T T.81, annex B).

Those that say how pixels are coded, and those that say something of the picture, are read apart: what is broken beside
the pixels is left out, and the pixels are still good.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.formats import readable_types

MARKER = re.compile(rb"\xff[\x01-\xfe]")

SOI, EOI, SOS, COM = 0xD8, 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a segment: TEM, RSTn and SOI."""

APPLICATION_SEGMENTS = frozenset({COM, *range(0xE0, 0xF0)})

COLOUR_SEGMENTS = {(APP0, b"JFIF\0"): 14, (APP14, b"Adobe"): 12}
"""Application segments that say how colours are coded, by marker and identifier; and the least bytes of their data
(T.871, section 10.1; libjpeg takes shorter ones for something else)."""

METADATA_SEGMENTS = {
    (APP1, b"Exif\0\0"): 6,
    (APP1, b"http://ns.adobe.com/xap/1.0/\0"): 29,
    (APP2, b"ICC_PROFILE\0"): 14,
    (APP13, b"Photoshop 3.0\0"): 14,
}
"""Those that are metadata, and their least bytes: EXIF, XMP, a piece of an ICC profile, IPTC-IIM."""

JPEG_LS = 0xF7
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {JPEG_LS}
"""FrameHeader headers (SOFn; ITU-T T.87 adds one)."""

UNREAD_CODINGS: Mapping[int, str] = {
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    JPEG_LS: "JPEG-LS",
}
"""What libjpeg does not decode, by frame header (T.81, table B.1)."""

READ_PRECISIONS = (8, 12)
"""Bits a sample."""

FRAME_FIELDS = struct.Struct(">BHHB")

MAX_SEGMENTS = 2**14
"""So many segments are followed: those of large profiles and packets are some hundreds."""


class FrameHeader(NamedTuple):
    """A frame header (section B.2.2)."""

    marker: int
    precision: int
    """Bits a sample."""
    height: int
    width: int
    components: int


def extract_picture(data: bytes) -> bytes:
    """The file without application segments and comments before the first scan, but for those that colours depend on.

    Raises CorruptImage for a file with no scan, or with more than MAX_SEGMENTS.
    """
    head, scans = _split(data)
    return b"".join([data[:2], *_select(head, COLOUR_SEGMENTS), data[scans:]])


def extract_metadata(data: bytes) -> tuple[list[bytes], bytes]:
    """The metadata segments of a file that are long enough, and a file for `insert_segments` to insert them into.

    It ends with the header of the first scan. Raises what `extract_picture` does.
    """
    head, scans = _split(data)
    end = scans + 2 + int.from_bytes(data[scans + 2 : scans + 4])
    rest = b"".join([data[:2], *_select(head, COLOUR_SEGMENTS), data[scans:end]])
    return [segment for segment in head if _matches(segment, METADATA_SEGMENTS)], rest


def extract_coding(data: bytes) -> bytes:
    """The file with no application segment before the first scan. Raises what `extract_picture` does."""
    head, scans = _split(data)
    return b"".join([data[:2], *_select(head, {}), data[scans:]])


def read_frame(data: bytes) -> FrameHeader:
    """The first frame header. Raises what `extract_picture` does, and CorruptImage where there is none."""
    head, _ = _split(data)
    for segment in head:
        if segment[1] in FRAME_MARKERS and len(segment) >= FRAME_FIELDS.size + 4:
            return FrameHeader(segment[1], *FRAME_FIELDS.unpack_from(segment, 4))
    raise CorruptImage("the jpeg image has no frame; send a complete file")


def check_coding(data: bytes) -> None:
    """Raise UnsupportedImage for a file that is coded in a way that is not read, and what `read_frame` does."""
    frame = read_frame(data)
    coding = UNREAD_CODINGS.get(frame.marker)
    if coding is None and frame.precision not in READ_PRECISIONS:
        coding = f"JPEG of {frame.precision} bits a sample"
    if coding is not None:
        raise UnsupportedImage(f"{coding} is not accepted; save it as ordinary JPEG or PNG", accepted=readable_types())


def declare_precision(data: bytes, precision: int) -> bytes:
    """The file with another number of bits in its frame headers. Raises what `extract_picture` does."""
    head, scans = _split(data)
    frames = FRAME_MARKERS
    changed = [part[:4] + bytes([precision]) + part[5:] if part[1] in frames else part for part in head]
    return b"".join([data[:2], *changed, data[scans:]])


def insert_segments(data: bytes, segments: Sequence[bytes]) -> bytes:
    """Insert segments where the first ones of a file are."""
    return b"".join([data[:2], *segments, data[2:]])


def _select(segments: Sequence[bytes], kept: dict[tuple[int, bytes], int]) -> Iterator[bytes]:
    """The segments that code pixels, and those of the application segments that are kept."""
    return (part for part in segments if part[1] not in APPLICATION_SEGMENTS or _matches(part, kept))


def _matches(segment: bytes, kinds: dict[tuple[int, bytes], int]) -> bool:
    """Whether marker and identifier are among those, and the data has the bytes that it needs."""
    return any(
        segment[1] == marker and segment.startswith(identifier, 4) and len(segment) >= 4 + least
        for (marker, identifier), least in kinds.items()
    )


def _split(data: bytes) -> tuple[list[bytes], int]:
    """The segments before the first scan, each with its marker, and the offset of the scan's marker.

    Bytes between segments are skipped, as libjpeg does.
    """
    segments: list[bytes] = []
    at = 2
    while len(segments) < MAX_SEGMENTS:
        found = MARKER.search(data, at)
        if found is None or data[found.start() + 1] == EOI:
            raise CorruptImage("the header of the jpeg image is broken; send a complete file")
        begin, marker = found.start(), data[found.start() + 1]
        if marker == SOS:
            return segments, begin
        length = 0 if marker in STANDALONE else int.from_bytes(data[begin + 2 : begin + 4])
        at = begin + 2 + (length if length >= 2 else 0)
        if length >= 2:
            segments.append(data[begin:at])
    raise too_many_segments()


def too_many_segments() -> CorruptImage:
    """What is raised for a file with more than MAX_SEGMENTS."""
    return CorruptImage(f"the jpeg image has more than {MAX_SEGMENTS} segments; save it anew")
