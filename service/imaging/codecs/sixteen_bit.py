"""Reads PNG (by libpng) and TIFF (by tifffile) with 16 bits a channel; Pillow keeps 16 bits for grey only."""

import io

import imagecodecs
import numpy as np
import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from service.imaging.pixels import Pixels


def read_png(data: bytes) -> Pixels:
    """Decode to uint16: grey (H, W), grey and alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4)."""
    result: Pixels = imagecodecs.png_decode(data)
    return result


def read_tiff(data: bytes) -> Pixels:
    """Decode the first page, grey or RGB, to the shapes of `read_png`, with straight alpha and black at zero.

    Extra samples after the first one are dropped; they are masks and spot colours.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        pixels = _read_page(page)
        if not page.extrasamples:
            return pixels
        colours = 3 if page.photometric == PHOTOMETRIC.RGB else 1
        kept = pixels[..., : colours + 1]
        return _unpremultiply(kept) if page.extrasamples[0] == EXTRASAMPLE.ASSOCALPHA else kept


def _read_page(page: tifffile.TiffPage) -> Pixels:
    """The samples of a page, interleaved and with black at zero."""
    pixels: Pixels = page.asarray()
    if page.samplesperpixel > 1 and page.planarconfig == PLANARCONFIG.SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        pixels = ~pixels if pixels.ndim == 2 else np.dstack([~pixels[..., :1], pixels[..., 1:]])
    return pixels


def _unpremultiply(pixels: Pixels) -> Pixels:
    """Divide colours by the last channel, alpha (TIFF 6.0, section 18)."""
    alpha = pixels[..., -1:].astype(np.float32)
    colours = np.rint(pixels[..., :-1] * (65_535 / np.maximum(alpha, 1))).clip(0, 65_535)
    return np.dstack([colours.astype(np.uint16), pixels[..., -1:]])
