"""Arrays of pixels with 8 or 16 bits a channel."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8 | np.uint16]
"""uint8 or uint16, each over its whole range: RGB as (H, W, 3), unless stated otherwise."""

BAND_VALUES = 2**22
"""Array elements in a band of rows: 16 MiB in float32, large enough that bands seldom share input rows."""

LUMA_BT601 = np.array([19_595, 38_470, 7_471], np.uint32)
"""Weights of red, green and blue (ITU-R BT.601), times 2¹⁶."""


def row_bands(height: int, row_values: int, multiple: int = 1, band_values: int = BAND_VALUES) -> Iterator[slice]:
    """Yield slices of about `band_values` array elements that together cover all rows of a picture.

    `row_values` is the number of elements in a row. The height of every band but the last is a multiple of `multiple`.
    Float or uint32 copies are made of one band at a time, as those of a whole picture could take gigabytes.
    """
    rows = max(1, band_values // max(row_values, 1) // multiple) * multiple
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def to_8_bits(pixels: Pixels, *, band_values: int = BAND_VALUES) -> NDArray[np.uint8]:
    """Round uint16 to the nearest uint8 value; uint8 is returned without a copy."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    result = np.empty(pixels.shape, np.uint8)
    for rows in row_bands(len(pixels), pixels[0].size, band_values=band_values):
        result[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return result


def widen(pixels: Pixels, bits: int) -> Pixels:
    """Scale uint16 values of `bits` bits, 16 at the most, in place, to the whole range, rounded; larger ones clip."""
    if bits == 16:
        return pixels
    most = 2**bits - 1
    for rows in row_bands(len(pixels), pixels[0].size):
        values = np.minimum(pixels[rows], most).astype(np.uint32)
        pixels[rows] = (values * (2 * 65_535) + most) // (2 * most)
    return pixels


def to_luma(pixels: Pixels, *, band_values: int = BAND_VALUES) -> Pixels:
    """Convert (H, W, 3) to its BT.601 luma, (H, W); three equal channels give exactly that channel."""
    result = np.empty(pixels.shape[:2], pixels.dtype)
    for rows in row_bands(len(pixels), pixels[0].size, band_values=band_values):
        result[rows] = (pixels[rows] @ LUMA_BT601 + 2**15) >> 16
    return result


def apply_orientation(pixels: Pixels, orientation: int) -> Pixels:
    """Rotate and mirror stored pixels as EXIF's orientation tag says (EXIF 2.32, section 4.6.5); contiguous.

    Values outside 1 to 8 change nothing.
    """
    result = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    if orientation in (3, 4, 7, 8):
        result = result[::-1]
    if orientation in (2, 3, 6, 7):
        result = result[:, ::-1]
    return np.ascontiguousarray(result)
