"""Writes TIFF with 8 or 16 bits a channel and metadata (TIFF 6.0; Adobe's supplements 1 and 2)."""

import io
from collections.abc import Mapping, Sequence
from typing import Literal

import imagecodecs
import numpy as np
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PREDICTOR

from service.imaging.codecs.metadata import OutputMetadata
from service.imaging.pixels import Pixels

STRIP_BYTES = 2**18
"""About the bytes of pixels, before compression, in a strip."""

DEFLATE_LEVEL = 6

ByteOrder = Literal["<", ">"]
"""Little or big end first, as NumPy and Pillow call it."""

HEADERS: Mapping[ByteOrder, bytes] = {"<": b"II*\0\0\0\0\0", ">": b"MM\0*\0\0\0\0"}
"""What a TIFF begins with."""


def write_tiff(pixels: Pixels, profile: bytes | None, metadata: OutputMetadata, *, compressed: bool = True) -> bytes:
    """Encode (H, W) or (H, W, C): grey or RGB, with straight alpha where there is one channel more.

    The order of bytes is that of the EXIF. Without compression all pixels are one strip.
    """
    order: ByteOrder = ">" if metadata.exif.endian == ">" else "<"
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = max(1, STRIP_BYTES // (width * channels * pixels.itemsize)) if compressed else height
    write_strip = _compress_strip if compressed else _store_strip
    strips = [write_strip(pixels[top : top + rows], order) for top in range(0, height, rows)]
    directory = ImageFileDirectory_v2(HEADERS[order])
    _set_metadata(directory, profile, metadata)
    _set_layout(directory, pixels, rows)
    _set_compression(directory, compressed=compressed)
    return _assemble(strips, directory)


def _set_metadata(directory: ImageFileDirectory_v2, profile: bytes | None, metadata: OutputMetadata) -> None:
    for tag, value in metadata.exif.items():
        directory[tag] = value
    directory[Base.XMLPacket] = metadata.xmp
    if profile:
        directory[Base.InterColorProfile] = profile


def _set_layout(directory: ImageFileDirectory_v2, pixels: Pixels, rows_per_strip: int) -> None:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    photometric = PHOTOMETRIC.RGB if channels > 2 else PHOTOMETRIC.MINISBLACK
    directory[Base.ImageWidth], directory[Base.ImageLength] = width, height
    directory[Base.BitsPerSample] = (8 * pixels.itemsize,) * channels
    directory[Base.PhotometricInterpretation] = photometric.value
    directory[Base.SamplesPerPixel], directory[Base.RowsPerStrip] = channels, rows_per_strip
    if channels in (2, 4):
        directory[Base.ExtraSamples] = EXTRASAMPLE.UNASSALPHA.value


def _set_compression(directory: ImageFileDirectory_v2, *, compressed: bool) -> None:
    compression = COMPRESSION.ADOBE_DEFLATE if compressed else COMPRESSION.NONE
    directory[Base.Compression] = compression.value
    if compressed:
        directory[Base.Predictor] = PREDICTOR.HORIZONTAL.value


def _assemble(strips: Sequence[bytes], directory: ImageFileDirectory_v2) -> bytes:
    """Join header, directory and strips; Pillow counts the offsets of strips from the end of the directory."""
    lengths = [len(strip) for strip in strips]
    directory[Base.StripOffsets] = tuple(int(offset) for offset in np.cumsum([0, *lengths[:-1]]))
    directory[Base.StripByteCounts] = tuple(lengths)
    file = io.BytesIO()
    directory.save(file)
    file.writelines(strips)
    return file.getvalue()


def _compress_strip(rows: Pixels, order: ByteOrder) -> bytes:
    """Deflate the differences of horizontal neighbours (TIFF 6.0, section 14), in that order of bytes."""
    differences = rows.astype(rows.dtype.newbyteorder(order))
    differences[:, 1:] -= rows[:, :-1]
    return bytes(imagecodecs.deflate_encode(differences.tobytes(), DEFLATE_LEVEL))


def _store_strip(rows: Pixels, order: ByteOrder) -> bytes:
    """The values as they are, in that order of bytes."""
    return rows.astype(rows.dtype.newbyteorder(order), copy=False).tobytes()
