"""Strips and tiles of a TIFF: from the bytes in the file to samples (TIFF 6.0)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from math import ceil

import imagecodecs
import numpy as np
from tifffile import COMPRESSION, PREDICTOR

from service.imaging.codecs.tiff_compression import UNPACKERS, StripForm, decode_by_libtiff, unpack_by_libtiff
from service.imaging.codecs.tiff_directory import corrupt
from service.imaging.codecs.tiff_embedded import EmbeddedImage, decode_embedded
from service.imaging.codecs.tiff_layout import (
    BYTE_COMPRESSIONS,
    IMAGE_COMPRESSIONS,
    LIBTIFF_COMPRESSIONS,
    Segment,
    Tag,
    TiffLayout,
)
from service.imaging.pixels import Pixels

REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

GROUP_BYTES, GROUP_SEGMENTS = 2**24, 2**10
"""Bytes before compression, and segments, that libtiff decodes at once at most."""


def decode_segments(layout: TiffLayout, segments: Iterable[Segment]) -> Iterator[tuple[Segment, Pixels]]:
    """Decode each to (rows, columns, samples) with the values that are stored, uint8 or, of over 8 bits, uint16.

    Those that have the same bytes as the one before are decoded once. Raises CorruptImage and UnsupportedImage, and
    whatever the decoders do.
    """
    if layout.compression in LIBTIFF_COMPRESSIONS:
        for group in _group_segments(layout, segments):
            yield from zip(group, _decode_by_libtiff(layout, group), strict=True)
        return
    last: tuple[int, int, int] | None = None
    pixels: Pixels = np.empty((0, 0, 0), np.uint8)
    for segment in segments:
        if (segment.offset, segment.size, segment.rows) != last:
            pixels = _decode_segment(layout, segment)
            last = segment.offset, segment.size, segment.rows
        yield segment, pixels


def _group_segments(layout: TiffLayout, segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Yield segments that follow each other and have the same number of rows."""
    most = max(1, min(GROUP_SEGMENTS, GROUP_BYTES // layout.row_bytes(layout.segment_rows)))
    for _, equal in groupby(segments, lambda segment: segment.rows):
        while group := list(islice(equal, most)):
            yield group


def _decode_by_libtiff(layout: TiffLayout, group: Sequence[Segment]) -> Iterator[Pixels]:
    rows = group[0].rows
    strips = [_find_data(layout, segment) for segment in group]
    if layout.compression in BYTE_COMPRESSIONS:
        stored = [_order_bits(strip, layout) for strip in strips]
        unpacked = unpack_by_libtiff(stored, layout.compression, layout.row_bytes(rows))
        return (_arrange(each.tobytes(), layout, rows) for each in unpacked)
    tag = Tag.T4_OPTIONS if layout.compression == COMPRESSION.CCITT_T4 else Tag.T6_OPTIONS
    options, is_reversed = layout.directory.integer(tag, 0), layout.is_bit_reversed
    form = StripForm(layout.compression, layout.segment_width, rows, layout.bits, is_reversed, options)
    values = decode_by_libtiff(strips, form)[..., None] // (255 // (2**layout.bits - 1))
    return (values[top : top + rows] for top in range(0, len(values), rows))


def _decode_segment(layout: TiffLayout, segment: Segment) -> Pixels:
    data = _find_data(layout, segment)
    if layout.compression in IMAGE_COMPRESSIONS:
        return decode_embedded(EmbeddedImage(data, layout, segment.rows))
    size = layout.row_bytes(segment.rows)
    unpacked = UNPACKERS[layout.compression](_order_bits(data, layout), size)
    if len(unpacked) < size:
        raise corrupt(f"a strip or tile has {len(unpacked)} bytes of pixels instead of {size}")
    return _arrange(unpacked, layout, segment.rows)


def _find_data(layout: TiffLayout, segment: Segment) -> bytes:
    data = layout.directory.data[segment.offset : segment.offset + segment.size]
    if layout.compression != COMPRESSION.NONE and not 0 < len(data) == segment.size:
        raise corrupt("a strip or tile is not in the file")
    return data


def _order_bits(data: bytes, layout: TiffLayout) -> bytes:
    """Bytes whose highest bit is the first."""
    return data.translate(REVERSED_BITS) if layout.is_bit_reversed else data


def _arrange(unpacked: bytes, layout: TiffLayout, rows: int) -> Pixels:
    if layout.subsampling != (1, 1):
        return _spread_chroma(unpacked, layout, rows)
    pixels = _unpack_samples(unpacked, layout).reshape(rows, layout.segment_width, layout.segment_samples)
    if layout.predictor == PREDICTOR.HORIZONTAL:
        pixels = np.cumsum(pixels, axis=1, dtype=pixels.dtype)
    return pixels


def _unpack_samples(data: bytes, layout: TiffLayout) -> Pixels:
    """All values; rows of other depths than 8 and 16 bits are filled up to whole bytes."""
    if layout.bits == 8:
        return np.frombuffer(data, np.uint8)
    if layout.bits == 16:
        stored = np.frombuffer(data, np.dtype(np.uint16).newbyteorder(layout.directory.byte_order))
        return stored.astype(np.uint16, copy=False)
    row = layout.segment_width * layout.segment_samples
    dtype = "B" if layout.bits < 8 else "H"
    return np.asarray(imagecodecs.packints_decode(data, dtype, layout.bits, runlen=row))


def _spread_chroma(data: bytes, layout: TiffLayout, rows: int) -> Pixels:
    """Give the pixels of a block, whose luma comes before its Cb and Cr, that chroma (section 21)."""
    across, down = layout.subsampling
    height, width = ceil(rows / down), ceil(layout.segment_width / across)
    blocks = np.frombuffer(data, np.uint8).reshape(height, width, across * down + 2)
    luma = blocks[..., :-2].reshape(height, width, down, across).swapaxes(1, 2).reshape(height * down, width * across)
    chroma = blocks[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    return np.dstack([luma, chroma])[:rows, : layout.segment_width]
