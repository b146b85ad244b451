"""Arrays of pixels, 8 or 16 bits a channel."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8 | np.uint16]
"""uint8 or uint16 over the whole range of the type, (H, W, 3), RGB; or (H, W) where it says so."""

BAND = 2**20
"""Pixels for which there are numbers larger than bytes at a time."""

LUMA = np.array([19_595, 38_470, 7_471], np.uint32)
"""Rec. 601's weights of red, green and blue, times 2¹⁶."""


def bands(shape: Sequence[int], multiple: int = 1) -> Iterator[slice]:
    """The rows of (H, W, …) in slices of about BAND pixels, all but the last a multiple of so many rows."""
    height, width, *_ = shape
    rows = max(1, BAND // max(width, 1) // multiple) * multiple
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """The nearest values of 8 bits; those that have 8 bits as they are."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    result = np.empty(pixels.shape, np.uint8)
    for rows in bands(pixels.shape):
        result[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return result


def luma(pixels: Pixels) -> Pixels:
    """(H, W) of (H, W, 3); of three equal channels each of them."""
    result = np.empty(pixels.shape[:2], pixels.dtype)
    for rows in bands(result.shape):
        result[rows] = (pixels[rows] @ LUMA + 2**15) >> 16
    return result


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turned as EXIF's orientation tag says that it must be (EXIF 2.32, section 4.6.5); contiguous."""
    turned = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
