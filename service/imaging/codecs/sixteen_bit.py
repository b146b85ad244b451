"""Reads and writes PNG with 16 bits a channel, by libpng; Pillow keeps 16 bits for grey only."""

import ctypes

import imagecodecs
import numpy as np

from service.imaging.pixels import Pixels

FILE_MARGIN = 2**12
"""Bytes by which a file may be larger than its rows as zlib stores them."""


def read_png(data: bytes) -> Pixels:
    """Decode to uint16: grey (H, W), grey and alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4)."""
    try:
        result: Pixels = imagecodecs.png_decode(data)
    except Exception:
        _restore_reference_to_none()
        raise
    return result


def write_png(pixels: Pixels, level: int) -> bytes:
    """Encode (H, W) or (H, W, C), uint8 or uint16, with that level of compression, 0 to 9.

    imagecodecs leaves no room for the byte that a row begins with, and fails where rows are short and many.
    """
    rows = pixels.nbytes + len(pixels)
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level, out=rows + rows // 256 + FILE_MARGIN))


def _restore_reference_to_none() -> None:
    """Give back the reference that each failing `imagecodecs.png_decode` loses: without any, Python 3.11 aborts.

    From Python 3.12 on None is immortal (PEP 683), and this does nothing.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
