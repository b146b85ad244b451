"""Strips and tiles of a TIFF that are images of other formats: JPEG, JPEG 2000, JPEG XL, WebP and LERC.

Their own headers are read first: what they say of their size must be what the TIFF says, before memory is taken.
"""

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

import imagecodecs
import numpy as np
from tifffile import COMPRESSION, EXTRASAMPLE

from service.imaging.codecs import jpeg_segments, jxl
from service.imaging.codecs.jpeg import END_MARKER, read_jpeg
from service.imaging.codecs.jpeg_segments import FrameHeader
from service.imaging.codecs.jpeg_twelve_bit import PRECISION, decode_scans
from service.imaging.codecs.tiff_compression import inflate, unpack_zstd
from service.imaging.codecs.tiff_directory import corrupt
from service.imaging.codecs.tiff_layout import (
    JPEG_2000_COMPRESSIONS,
    JPEG_XL_COMPRESSIONS,
    WEBP_COMPRESSIONS,
    Tag,
    TiffLayout,
    unsupported,
)
from service.imaging.pixels import Pixels

START_MARKER = b"\xff\xd8"
GREY_AND_ALPHA = 2
"""Components that Pillow does not read."""
ADOBE_SEGMENT = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0"
"""All but its last byte: how colours are coded (0 as they are, 1 as YCbCr)."""

CODESTREAM_2000 = b"\xff\x4f\xff\x51"
SIZE_FIELDS = struct.Struct(">HH8IH")
"""Length, capabilities; sizes and offsets of the image and its tiles; components (T.800, section A.5.1)."""

LERC_FIELDS = struct.Struct("<6sI4s3I12xI")
"""Key, version, checksum; rows, columns, values of a pixel; and their type."""
LERC_KEY = b"Lerc2 "
LERC_VERSION = 4
"""The first with several values of a pixel."""
LERC_TYPES = {1: 8, 3: 16}
"""Bits of the unsigned types."""
LERC_DEFLATE, LERC_ZSTD = 1, 2
LERC_MARGIN = 2**16
"""Bytes by which LERC, beside a half more, can be larger than its pixels."""


class Extent(NamedTuple):
    """What a header says of an embedded image."""

    height: int
    width: int
    channels: int
    bits: int


class EmbeddedImage(NamedTuple):
    """A strip or tile, and what the TIFF says of it."""

    data: bytes
    layout: TiffLayout
    rows: int

    @property
    def columns(self) -> int:
        """Pixels in a row."""
        return self.layout.segment_width

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.layout.segment_samples

    @property
    def dtype(self) -> type[np.uint8 | np.uint16]:
        """The type of the values that are stored."""
        return np.uint16 if self.layout.bits > 8 else np.uint8

    def check(self, extent: Extent) -> None:
        """Raise CorruptImage where its header says something else; it may be filled up to the rows of other strips."""
        if extent.width != self.columns or extent.height not in (self.rows, self.layout.segment_rows):
            raise corrupt(
                f"a strip or tile of {self.columns}×{self.rows} pixels holds an image of {extent.width}×{extent.height}"
            )
        if (extent.channels, extent.bits) != (self.samples, self.layout.bits):
            raise corrupt(
                f"a strip or tile of {self.samples} channels of {self.layout.bits} bits holds an image of "
                f"{extent.channels} channels of {extent.bits} bits"
            )


def decode_embedded(image: EmbeddedImage) -> Pixels:
    """Decode a strip or tile to (rows, columns, samples), with the values that are stored.

    Raises CorruptImage and UnsupportedImage, and whatever the decoders do.
    """
    pixels = DECODERS[image.layout.compression](image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[1:] != (image.columns, image.samples) or pixels.dtype != image.dtype:
        raise corrupt("a strip or tile has other pixels than its header says")
    return pixels[: image.rows]


def _decode_jpeg(image: EmbeddedImage) -> Pixels:
    """JPEG with or without its tables (Adobe's TIFF technical note 2). YCbCr becomes RGB."""
    tables = image.layout.directory.raw(Tag.JPEG_TABLES)
    jpeg = join_tables(image.data, tables, is_ycbcr=image.layout.is_decoded_to_rgb)
    frame = jpeg_segments.read_frame(jpeg)
    image.check(Extent(frame.height, frame.width, frame.components, frame.precision))
    return decode_frame(jpeg, frame)


def join_tables(data: bytes, tables: bytes | None, *, is_ycbcr: bool) -> bytes:
    """A JPEG with its tables, and with nothing else beside its pixels than how its colours are coded."""
    if not data.startswith(START_MARKER):
        raise corrupt("a strip or tile is no JPEG")
    if tables and tables.startswith(START_MARKER):
        data = tables[: tables.rfind(END_MARKER) if END_MARKER in tables else None] + data[2:]
    coding = jpeg_segments.extract_coding(data)
    return jpeg_segments.insert_segments(coding, [ADOBE_SEGMENT + bytes([is_ycbcr])])


def decode_frame(jpeg: bytes, frame: FrameHeader) -> Pixels:
    """Decode what `join_tables` makes, whose header has been checked."""
    if frame.precision == PRECISION or frame.components == GREY_AND_ALPHA:
        return decode_scans(jpeg)
    with read_jpeg(jpeg) as image:
        stored = np.asarray(image)
        return ~stored if image.mode == "CMYK" else stored  # Pillow inverts it


def _decode_jpeg_2000(image: EmbeddedImage) -> Pixels:
    codestream = _find_codestream(image.data)
    _, _, right, bottom, left, top, *_, count = SIZE_FIELDS.unpack_from(codestream, 4)
    components = [codestream[at : at + 3] for at in range(4 + SIZE_FIELDS.size, 4 + SIZE_FIELDS.size + 3 * count, 3)]
    if any(component[1:] != b"\1\1" for component in components):
        raise unsupported("with JPEG 2000 whose channels differ in size")
    depths = {component[0] + 1 for component in components}
    if len(depths) != 1 or max(depths) > 128:
        raise unsupported("with JPEG 2000 whose channels are signed, or differ in depth")
    image.check(Extent(bottom - top, right - left, count, depths.pop()))
    return np.asarray(imagecodecs.jpeg2k_decode(codestream, numthreads=1))


def _find_codestream(data: bytes) -> bytes:
    """The codestream, bare or in the box jp2c (T.800, annex I)."""
    at = 0
    while not data.startswith(CODESTREAM_2000, at):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8 if size != 1 else 16
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if kind != b"jp2c" and size < head:
            raise corrupt("a strip or tile is no JPEG 2000")
        at += head if kind == b"jp2c" else size
    return data[at:]


def _decode_jpeg_xl(image: EmbeddedImage) -> Pixels:
    header = jxl.read_file(image.data).header
    channels = (1 if header.is_grey else 3) + header.has_alpha
    image.check(Extent(*header.upright_size, channels, header.bits))
    if header.bits not in (8, 16):
        raise unsupported(f"with JPEG XL of {header.bits} bits a channel")
    return jxl.read_pixels(image.data)


def _decode_webp(image: EmbeddedImage) -> Pixels:
    height, width = _read_webp_size(image.data)
    image.check(Extent(height, width, image.samples, 8))
    if image.samples not in (3, 4):
        raise corrupt("WebP has three or four channels")
    out = np.empty((height, width, image.samples), np.uint8)
    return np.asarray(imagecodecs.webp_decode(image.data, hasalpha=image.samples == 4, out=out))


def _read_webp_size(data: bytes) -> tuple[int, int]:
    """Height and width by the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    kind = data[12:16] if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    raise corrupt("a strip or tile is no WebP")


def _decode_lerc(image: EmbeddedImage) -> Pixels:
    """LERC, alone or within Deflate or Zstandard: pixels, or one picture for each channel, or with a mask as alpha."""
    data, samples = _uncompress_lerc(image), image.samples
    key, version, _, rows, columns, depth, kind = LERC_FIELDS.unpack_from(data)
    if key != LERC_KEY:
        raise corrupt("a strip or tile is no LERC")
    if version < LERC_VERSION:
        raise unsupported(f"with LERC of version {version}")
    is_masked = depth == samples - 1 and image.layout.extra_samples[-1:] == (EXTRASAMPLE.UNASSALPHA,)
    is_apart = depth == 1 < samples and not is_masked
    image.check(Extent(rows, columns, samples if is_masked or is_apart else depth, LERC_TYPES.get(kind, 0)))
    shape = (samples, rows, columns) if is_apart else (rows, columns, depth) if depth > 1 else (rows, columns)
    out = np.empty(shape, image.dtype)
    if is_masked:
        values, valid = imagecodecs.lerc_decode(data, masks=True, out=out)
        return np.dstack(
            [values, (np.asarray(valid).reshape(rows, columns) > 0) * image.dtype(np.iinfo(out.dtype).max)]
        )
    pixels = np.asarray(imagecodecs.lerc_decode(data, masks=False, out=out))
    return np.moveaxis(pixels, 0, -1) if is_apart else pixels


def _uncompress_lerc(image: EmbeddedImage) -> bytes:
    parameters = image.layout.directory.integers(Tag.LERC_PARAMETERS)
    around = parameters[1] if len(parameters) > 1 else 0
    most = image.layout.row_bytes(image.layout.segment_rows) * 3 // 2 + LERC_MARGIN
    if around == LERC_DEFLATE:
        return inflate(image.data, most)
    return unpack_zstd(image.data, most) if around == LERC_ZSTD else image.data


DECODERS: Mapping[COMPRESSION, Callable[[EmbeddedImage], Pixels]] = {
    COMPRESSION.JPEG: _decode_jpeg,
    COMPRESSION.LERC: _decode_lerc,
    **dict.fromkeys(JPEG_2000_COMPRESSIONS, _decode_jpeg_2000),
    **dict.fromkeys(JPEG_XL_COMPRESSIONS, _decode_jpeg_xl),
    **dict.fromkeys(WEBP_COMPRESSIONS, _decode_webp),
}
