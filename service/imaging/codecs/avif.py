"""Decodes AVIF files."""

import imagecodecs
import numpy as np

from service.errors import CorruptImage
from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.isobmff import read_bits, read_crop
from service.imaging.codecs.opening import EXTRACTORS, open_image
from service.imaging.pixels import Pixels, widen


def read_pixels(data: bytes) -> Pixels:
    """Decode to the clean aperture, before orientation: uint8, or of more bits uint16.

    Grey is (H, W), RGB (H, W, 3), and all that has alpha RGBA, (H, W, 4).

    Raises CorruptImage, and what Pillow and imagecodecs raise.
    """
    with open_image(data, ImageFormat.AVIF) as image:
        width, height = image.size
        pixels: Pixels = _read_deep(data, height, width) if read_bits(data) > 8 else np.asarray(image)
    crop = read_crop(data, width, height)
    return pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width] if crop else pixels


def _read_deep(data: bytes, height: int, width: int) -> Pixels:
    """Decode with all bits, which Pillow does not."""
    pixels = imagecodecs.avif_decode(EXTRACTORS[ImageFormat.AVIF](data))
    if pixels.shape[:2] != (height, width):
        raise CorruptImage("the file says of its image that it has two sizes; save it anew")
    deep = widen(pixels, read_bits(data))
    return deep[..., (0, 0, 0, 1)] if deep.shape[2:] == (2,) else deep  # as Pillow reads grey with alpha
