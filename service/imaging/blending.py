"""Combines a photo with its stylized versions pixel by pixel: mixes, transfers colour, blends.

All pictures of a call have the same shape, (H, W, 3), and the same type, uint8 or uint16. `band_values` is that of
`row_bands`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from service.imaging.pixels import BAND_VALUES, Pixels, row_bands
from service.imaging.resampling import OUTPUT_BLOCK, Floats, to_integers

LUMA_BT709 = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of R', G' and B' with the primaries of sRGB (ITU-R BT.709)."""

MIN_DIVISOR = np.float32(1e-6)

Opacity = Callable[[int, int], Floats | float]
"""Opacity of rows `begin` to `end`, 0 to 1: (end − begin, W, 1), or one number for all pixels."""


def mix(stylized: Sequence[Pixels], weights: Sequence[float], *, band_values: int = BAND_VALUES) -> Pixels:
    """The weighted mean of pictures, with weights that sum to 1; a single picture is returned as it is."""
    if len(stylized) == 1:
        return stylized[0]

    def mix_rows(rows: slice) -> Floats:
        total = np.zeros(stylized[0][rows].shape, np.float32)
        for picture, weight in zip(stylized, weights, strict=True):
            total += np.multiply(picture[rows], np.float32(weight), dtype=np.float32)
        return total

    return _compose(stylized[0], mix_rows, band_values)


def transfer_colour(photo: Pixels, stylized: Pixels, *, band_values: int = BAND_VALUES) -> Pixels:
    """Combine the BT.709 luma of `stylized`, to half a level, with the chroma (Cb, Cr) of `photo`.

    A colour outside the RGB cube is desaturated until it fits: its hue stays, its chroma shrinks.
    """
    white = np.float32(np.iinfo(photo.dtype).max)
    return _compose(photo, lambda rows: _transfer_rows(photo[rows], stylized[rows], white), band_values)


def blend(photo: Pixels, stylized: Pixels, opacity: Opacity, *, band_values: int = BAND_VALUES) -> Pixels:
    """Lay `stylized` over `photo`; opacity 0 gives exactly the photo, 1 exactly the stylized picture."""

    def blend_rows(rows: slice) -> Floats:
        below = photo[rows].astype(np.float32)
        return below + (stylized[rows] - below) * opacity(rows.start, rows.stop)

    return _compose(photo, blend_rows, band_values)


def _transfer_rows(photo: Pixels, stylized: Pixels, white: np.float32) -> Floats:
    result = photo.astype(np.float32)
    photo_luma, luma = _luma(result), _luma(stylized)
    for channel in range(3):
        result[..., channel] -= photo_luma
    saturation = _possible_saturation(result, luma, white)
    for channel in range(3):
        result[..., channel] *= saturation
        result[..., channel] += luma
    return result


def _possible_saturation(chroma: Floats, luma: Floats, white: np.float32) -> Floats:
    """The largest factor up to 1, (H, W), with which luma + factor · chroma lies between 0 and `white`."""
    channels = [chroma[..., channel] for channel in range(3)]
    above, below = np.maximum.reduce(channels), -np.minimum.reduce(channels)
    possible: Floats = np.minimum(
        (white - luma) / np.maximum(above, MIN_DIVISOR), luma / np.maximum(below, MIN_DIVISOR)
    )
    return np.minimum(possible, 1, out=possible)


def _luma(picture: Pixels | Floats) -> Floats:
    red, green, blue = (np.multiply(picture[..., at], LUMA_BT709[at], dtype=np.float32) for at in range(3))
    luma: Floats = red + green + blue
    return luma


def _compose(like: Pixels, compute: Callable[[slice], Floats], band_values: int) -> Pixels:
    """Compute a picture of the shape and type of `like` band by band."""
    result = np.empty_like(like)
    for rows in row_bands(len(like), like[0].size, OUTPUT_BLOCK, band_values):
        result[rows] = to_integers(compute(rows), like.dtype)
    return result
