"""Files of 16 bits a channel, which Pillow has for grey only: PNG by libpng, TIFF by tifffile."""

import io

import imagecodecs
import numpy as np
import tifffile

from service.photographs.pixels import Pixels

PNG_LEVEL = 3

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
"""Photometric interpretations of TIFF (TIFF 6.0, section 8)."""

PREMULTIPLIED = 1
"""The kind of a TIFF's extra sample which says that colours were multiplied by it (TIFF 6.0, section 18)."""


def read_png(data: bytes) -> Pixels:
    """uint16 (H, W) or (H, W, C): grey, grey and alpha, RGB, or RGBA."""
    result: Pixels = imagecodecs.png_decode(data)
    return result


def read_tiff(data: bytes) -> Pixels:
    """The first page of a TIFF of grey or RGB pixels as `read_png` gives them; alpha is not premultiplied."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        pixels: Pixels = page.asarray()
        if page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
        colours = 3 if page.photometric == RGB else 1
        if page.photometric == WHITE_IS_ZERO:
            pixels = ~pixels if pixels.ndim == 2 else np.dstack([~pixels[..., :1], pixels[..., 1:]])
        if not page.extrasamples:
            return pixels
        kept = pixels[..., : colours + 1]  # further ones are masks and spot colours
        return _divided(kept) if page.extrasamples[0] == PREMULTIPLIED else kept


def _divided(pixels: Pixels) -> Pixels:
    """Colours that were multiplied by the last channel, as they were before."""
    alpha = pixels[..., -1:].astype(np.float32)
    colours = np.rint(pixels[..., :-1] * (65_535 / np.maximum(alpha, 1))).clip(0, 65_535)
    return np.dstack([colours.astype(np.uint16), pixels[..., -1:]])
