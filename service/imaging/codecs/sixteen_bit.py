"""Reads PNG with 16 bits a channel, by libpng; Pillow keeps 16 bits for grey only."""

import ctypes

import imagecodecs

from service.imaging.pixels import Pixels


def read_png(data: bytes) -> Pixels:
    """Decode to uint16: grey (H, W), grey and alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4)."""
    try:
        result: Pixels = imagecodecs.png_decode(data)
    except Exception:
        _restore_reference_to_none()
        raise
    return result


def _restore_reference_to_none() -> None:
    """Give back the reference that each failing `imagecodecs.png_decode` loses: without any, Python 3.11 aborts.

    From Python 3.12 on None is immortal (PEP 683), and this does nothing.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
