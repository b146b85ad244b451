"""The chunks of a WebP (WebP Container Specification, RFC 9649).

Chunks that carry pixels and those that say something of them are read apart: what is broken beside the pixels is left
out, and the pixels are still good.
"""

import struct
from collections.abc import Iterator

from service.errors import CorruptImage

HEADER_BYTES, CHUNK_HEAD = 12, struct.Struct("<4sI")

EXTENDED = b"VP8X"
STILL_CHUNKS, FRAME_CHUNKS = frozenset({b"VP8 ", b"VP8L"}), frozenset({b"ANIM", b"ANMF"})
PIXEL_CHUNKS = STILL_CHUNKS | FRAME_CHUNKS | {EXTENDED, b"ALPH"}
METADATA_CHUNKS = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}
"""The chunks of metadata, and Pillow's names for them."""

METADATA_FLAGS = 0x20 | 0x08 | 0x04
"""The bits of the first byte of VP8X that announce ICC profile, EXIF and XMP (RFC 9649, section 2.7.1)."""

MAX_CHUNKS = 2**16


def extract_pixels(data: bytes) -> bytes:
    """The file with nothing but what carries pixels and frames.

    Raises CorruptImage for more than MAX_CHUNKS, and for an animation that ends before the size that it declares; where
    metadata follows the frames, all of them are there.
    """
    pieces, last = [], EXTENDED
    for kind, begin, end in _iterate_chunks(data):
        last = kind
        if kind == EXTENDED and begin + 8 < len(data):
            flags = data[begin + 8] & ~METADATA_FLAGS
            pieces.append(data[begin : begin + 8] + bytes([flags]) + data[begin + 9 : end])
        elif kind in PIXEL_CHUNKS:
            pieces.append(data[begin:end])
    if last in FRAME_CHUNKS and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise CorruptImage("the webp image ends before its last frame; send a complete file")
    body = b"".join(pieces)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def read_metadata(data: bytes) -> dict[str, bytes]:
    """Profile, EXIF and XMP by Pillow's names: the first whole chunk of each."""
    found: dict[str, bytes] = {}
    for kind, begin, _ in _iterate_chunks(data):
        size = int.from_bytes(data[begin + 4 : begin + 8], "little")
        if kind in METADATA_CHUNKS and size and begin + CHUNK_HEAD.size + size <= len(data):
            found.setdefault(METADATA_CHUNKS[kind], data[begin + CHUNK_HEAD.size : begin + CHUNK_HEAD.size + size])
    return found


def _iterate_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, begin and end of every chunk, with its padding; the last one of a truncated file ends after it."""
    end, last = HEADER_BYTES, min(len(data), 8 + int.from_bytes(data[4:8], "little")) - CHUNK_HEAD.size
    for _ in range(MAX_CHUNKS):
        if end > last:
            return
        begin = end
        kind, size = CHUNK_HEAD.unpack_from(data, begin)
        end = begin + CHUNK_HEAD.size + size + size % 2
        yield kind, begin, end
    raise CorruptImage(f"the webp image has more than {MAX_CHUNKS} chunks; save it anew")
