"""Decodes HEIC files of more than 8 bits a channel, which Pillow's images cannot hold."""

import io

import numpy as np
import pi_heif

from service.imaging.codecs.isobmff import hide_items
from service.imaging.pixels import Pixels, row_bands, widen

PREMULTIPLIED_MODE = "RGBa"


def read_deep(data: bytes) -> Pixels:
    """Decode the primary image, upright, to uint16: grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4).

    Raises what pi-heif raises.
    """
    file = pi_heif.HeifFile(io.BytesIO(hide_items(data)), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    pixels = widen(np.array(file), file.info["bit_depth"])
    return _divide_by_alpha(pixels) if file.mode.startswith(PREMULTIPLIED_MODE) else pixels


def _divide_by_alpha(pixels: Pixels) -> Pixels:
    """Straight alpha in place of premultiplied."""
    for rows in row_bands(len(pixels), pixels[0].size):
        colours, alpha = pixels[rows, :, :3].astype(np.uint64), pixels[rows, :, 3:].astype(np.uint64)
        pixels[rows, :, :3] = np.minimum((colours * 65_535 + alpha // 2) // np.maximum(alpha, 1), 65_535)
    return pixels
