"""The chunks of a PNG (PNG, section 5)."""

from collections.abc import Iterator

SIGNATURE_BYTES = 8
CHUNK_OVERHEAD = 12
"""Bytes of a chunk beside its data: length, type and CRC."""

HEADER_END = SIGNATURE_BYTES + CHUNK_OVERHEAD + 13
"""The offset after the header chunk, which is always the first one and has 13 bytes of data."""

DEPTH_OFFSET, COLOUR_TYPE_OFFSET = 24, 25
"""Offsets of two fields of the header (PNG, section 11.2.1)."""

GREY_COLOUR_TYPES = (0, 4)
"""Greyscale, without and with alpha."""

PIXEL_CHUNKS = frozenset({b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND"})
CRITICAL_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND"})


def read_bit_depth(data: bytes) -> int:
    """The bits of a channel, or of a palette index."""
    return data[DEPTH_OFFSET]


def is_greyscale(data: bytes) -> bool:
    """Whether the file has a single channel of colour."""
    return data[COLOUR_TYPE_OFFSET] in GREY_COLOUR_TYPES


def strip_pixels(data: bytes) -> bytes:
    """Remove the chunks of pixels and frames, and end the file with the first bytes of an empty IDAT chunk.

    Pillow finds chunks that follow the pixels only by decoding these; in the result all chunks come before.
    """
    kept = (data[chunk] for kind, chunk in _iterate_chunks(data) if kind not in PIXEL_CHUNKS)
    return b"".join([data[:SIGNATURE_BYTES], *kept, b"\0\0\0\0IDAT"])


def insert_metadata(data: bytes, source: bytes) -> bytes:
    """Insert the metadata chunks of `source`, a PNG without a palette, after the header of `data`."""
    chunks = (source[chunk] for kind, chunk in _iterate_chunks(source) if kind not in CRITICAL_CHUNKS)
    return data[:HEADER_END] + b"".join(chunks) + data[HEADER_END:]


def _iterate_chunks(data: bytes) -> Iterator[tuple[bytes, slice]]:
    """Yield the type of every chunk, and its place; the last one of a truncated file ends after the file."""
    begin = SIGNATURE_BYTES
    while begin + CHUNK_OVERHEAD <= len(data):
        end = begin + CHUNK_OVERHEAD + int.from_bytes(data[begin : begin + 4], "big")
        yield data[begin + 4 : begin + 8], slice(begin, end)
        begin = end
