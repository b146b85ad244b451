"""CIELab whose colours count from another white than that of profiles (CIE 15; TIFF 6.0, section 23)."""

import numpy as np
from numpy.typing import NDArray

from service.imaging.codecs.hdr import encode_srgb
from service.imaging.codecs.icc import MIN_WHITE_Y, SRGB_PRIMARIES, adapt_to_d50
from service.imaging.pixels import BAND_VALUES, Pixels, row_bands

White = tuple[float, float]
"""Its chromaticity, x and y."""

D50_CHROMATICITY: White = (0.3457, 0.3585)

SAME_WHITE = 0.001
"""How far coordinates may be apart."""

LINEAR_END, LINEAR_SLOPE, LINEAR_OFFSET = 6 / 29, 3 * (6 / 29) ** 2, 4 / 29
"""Below that root light grows in a line with it."""


def is_usable(white: White) -> bool:
    """Whether it is a white that light can have."""
    x, y = white
    return x > 0 and y >= MIN_WHITE_Y and x + y <= 1


def is_d50(white: White) -> bool:
    """Whether it is the white of profiles."""
    return all(abs(one - other) <= SAME_WHITE for one, other in zip(white, D50_CHROMATICITY, strict=True))


def map_to_srgb(pixels: Pixels, white: White, *, band_values: int = BAND_VALUES) -> Pixels:
    """Convert (H, W, 3) under a usable white, stored as `colour.lab_to_srgb` has it, to sRGB of the same type."""
    result = np.empty_like(pixels)
    most = np.iinfo(pixels.dtype).max
    x, y = white
    to_srgb = _srgb_from_d50() @ adapt_to_d50(white) @ np.diag([x / y, 1, (1 - x - y) / y])
    for rows in row_bands(len(pixels), pixels[0].size, band_values=band_values):
        light = _decode(pixels[rows].astype(np.float32) * np.float32(255 / most))
        result[rows] = np.rint(encode_srgb(light @ to_srgb.T.astype(np.float32)) * most)
    return result


def _decode(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """X, Y and Z as shares of those of the white, from L, a and b in levels of 256."""
    luma = (levels[..., 0] / np.float32(2.55) + 16) / 116
    a, b = (levels[..., at] - 128 for at in (1, 2))
    roots = np.stack([luma + a / 500, luma, luma - b / 200], axis=-1)
    light = np.where(roots > LINEAR_END, roots**3, LINEAR_SLOPE * (roots - LINEAR_OFFSET))
    return light.astype(np.float32)


def _srgb_from_d50() -> NDArray[np.floating]:
    matrix: NDArray[np.floating] = np.linalg.inv(adapt_to_d50(SRGB_PRIMARIES.white) @ SRGB_PRIMARIES.to_xyz())
    return matrix
