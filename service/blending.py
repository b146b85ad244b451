"""What becomes of a photograph and its paintings, pixel by pixel: mixed, coloured, laid over one another.

Pure functions of pictures of one size and type, uint8 or uint16 (H, W, 3), a band of rows at a time.
"""

from collections.abc import Callable, Sequence

import numpy as np

from service.photographs import Pixels
from service.resampling import Floats, bands, rounded

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of R', G', B' with the primaries of sRGB (ITU-R BT.709)."""

TINY = np.float32(1e-6)

Opacity = Callable[[int, int], Floats | float]
"""Of rows `begin` to `end`: how much covers what lies below, 0 to 1; (end − begin, W, 1), or one number for all."""


def mixed(paintings: Sequence[Pixels], weights: Sequence[float]) -> Pixels:
    """The weighted mean of paintings; the weights' sum is 1. A single one is itself."""
    if len(paintings) == 1:
        return paintings[0]

    def band(begin: int, end: int) -> Floats:
        total = np.zeros(paintings[0][begin:end].shape, np.float32)
        for painting, weight in zip(paintings, weights, strict=True):
            total += np.multiply(painting[begin:end], np.float32(weight), dtype=np.float32)
        return total

    return _composed(paintings[0], band)


def in_colours_of(photo: Pixels, painting: Pixels) -> Pixels:
    """The luma of the painting (Y' of BT.709), to half a level, with the chroma of the photograph (Cb, Cr).

    Where that colour does not exist at that luma, it is paler: the chroma shrinks towards grey and keeps its hue.
    """
    most = np.float32(np.iinfo(photo.dtype).max)

    def band(begin: int, end: int) -> Floats:
        result = photo[begin:end].astype(np.float32)
        before, luma = _luma(result), _luma(painting[begin:end])
        for at in range(3):
            result[..., at] -= before
        channels = [result[..., at] for at in range(3)]
        above, beneath = np.maximum.reduce(channels), -np.minimum.reduce(channels)
        possible = np.minimum((most - luma) / np.maximum(above, TINY), luma / np.maximum(beneath, TINY))
        np.minimum(possible, 1, out=possible)
        for at in range(3):
            result[..., at] *= possible
            result[..., at] += luma
        return result

    return _composed(photo, band)


def blended(photo: Pixels, painting: Pixels, opacity: Opacity) -> Pixels:
    """The painting over the photograph: opacity 0 is exactly the photograph, 1 exactly the painting."""

    def band(begin: int, end: int) -> Floats:
        below = photo[begin:end].astype(np.float32)
        return below + (painting[begin:end] - below) * opacity(begin, end)

    return _composed(photo, band)


def _luma(picture: Pixels | Floats) -> Floats:
    red, green, blue = (np.multiply(picture[..., at], LUMA[at], dtype=np.float32) for at in range(3))
    luma: Floats = red + green + blue
    return luma


def _composed(like: Pixels, band: Callable[[int, int], Floats]) -> Pixels:
    result = np.empty_like(like)
    for begin, end in bands(len(like), like[0].size):
        result[begin:end] = rounded(band(begin, end), like.dtype)
    return result
