"""TIFF files of 8 or 16 bits a channel, with their metadata (TIFF 6.0; Adobe's supplements 1 and 2)."""

import io
from collections.abc import Sequence

import imagecodecs
import numpy as np
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from service.photographs.metadata import Attached
from service.photographs.pixels import Pixels

STRIP = 2**18
"""Bytes of pixels about which are compressed together."""

LEVEL = 6

DEFLATE, HORIZONTAL, STRAIGHT_ALPHA = 8, 2, 2
PREDICTOR, EXTRA_SAMPLES, XMP, PROFILE = 317, 338, 700, 34_675
BLACK_IS_ZERO, RGB = 1, 2


def write_tiff(pixels: Pixels, profile: bytes | None, attached: Attached) -> bytes:
    """A file of (H, W) or (H, W, C) pixels: grey or RGB, with alpha where there is one channel more."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = max(1, STRIP // (width * channels * pixels.itemsize))
    strips = [_compressed(pixels[top : top + rows]) for top in range(0, height, rows)]
    directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in attached.exif.items():
        directory[tag] = value
    directory[Base.ImageWidth], directory[Base.ImageLength] = width, height
    directory[Base.BitsPerSample] = (8 * pixels.itemsize,) * channels
    directory[Base.Compression], directory[PREDICTOR] = DEFLATE, HORIZONTAL
    directory[Base.PhotometricInterpretation] = RGB if channels > 2 else BLACK_IS_ZERO
    directory[Base.SamplesPerPixel], directory[Base.RowsPerStrip] = channels, rows
    if channels in (2, 4):
        directory[EXTRA_SAMPLES] = STRAIGHT_ALPHA
    directory[XMP] = attached.xmp
    if profile:
        directory[PROFILE] = profile
    return _joined(strips, directory)


def _joined(strips: Sequence[bytes], directory: ImageFileDirectory_v2) -> bytes:
    """The header, the directory and the strips, whose offsets Pillow counts from the end of the directory."""
    lengths = [len(strip) for strip in strips]
    directory[Base.StripOffsets] = tuple(int(offset) for offset in np.cumsum([0, *lengths[:-1]]))
    directory[Base.StripByteCounts] = tuple(lengths)
    file = io.BytesIO()
    directory.save(file)
    file.writelines(strips)
    return file.getvalue()


def _compressed(rows: Pixels) -> bytes:
    """Differences of neighbours in a row, deflated (TIFF 6.0, section 14)."""
    differences = rows.astype(rows.dtype.newbyteorder("<"))
    differences[:, 1:] -= rows[:, :-1]
    return bytes(imagecodecs.deflate_encode(differences.tobytes(), LEVEL))
