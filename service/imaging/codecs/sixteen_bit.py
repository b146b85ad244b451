"""Reads PNG with 16 bits a channel, by libpng; Pillow keeps 16 bits for grey only."""

import imagecodecs

from service.imaging.pixels import Pixels


def read_png(data: bytes) -> Pixels:
    """Decode to uint16: grey (H, W), grey and alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4)."""
    result: Pixels = imagecodecs.png_decode(data)
    return result
