"""Corrects the colours of an upscaled image, so that reducing it gives the original again.

Networks shift colours by a level or two over whole skies and faces, which is visible. The difference between the
original and the reduced upscaled image is enlarged and added: iterative back-projection (Irani and Peleg, *Improving
Resolution by Image Registration*, 1991), with the reduction by which the networks' low-resolution images are made.
"""

import numpy as np

from service.imaging.pixels import BAND_VALUES, Pixels, row_bands
from service.imaging.resampling import CUBIC, LANCZOS, OUTPUT_BLOCK, Floats, Resampler, to_integers

ITERATIONS = 1
"""After one, the mean difference is a fifth of a level, which is rounding, except in pixels that are already black or
white. A second one gains hundredths (×4 on Set5, Set14 and BSD100: from 0.44, 0.51 and 0.53 levels to 0.183, 0.196 and
0.170 with one, 0.170, 0.177 and 0.159 with two)."""


def back_project(
    upscaled: Pixels, original: Pixels, iterations: int = ITERATIONS, *, band_values: int = BAND_VALUES
) -> None:
    """Correct `upscaled`, (H', W', C), in place by `original`, (H, W, C) of the same type.

    In place, as a copy of the largest output takes half a gigabyte; the difference takes 4 bytes a value of `original`.
    """
    for _ in range(iterations):
        difference = _reduced_difference(upscaled, original, band_values)
        _add_enlarged(upscaled, difference, band_values)


def _reduced_difference(upscaled: Pixels, original: Pixels, band_values: int) -> Floats:
    reduction = Resampler(_size(upscaled), _size(original), CUBIC)
    difference = np.empty(original.shape, np.float32)
    for rows in row_bands(len(original), upscaled[0].size, OUTPUT_BLOCK, band_values):
        np.subtract(original[rows], reduction.resample_rows(upscaled, rows), out=difference[rows])
    return difference


def _add_enlarged(upscaled: Pixels, difference: Floats, band_values: int) -> None:
    enlargement = Resampler((difference.shape[0], difference.shape[1]), _size(upscaled), LANCZOS)
    for rows in row_bands(len(upscaled), upscaled[0].size, OUTPUT_BLOCK, band_values):
        corrected = enlargement.resample_rows(difference, rows)
        corrected += upscaled[rows]
        upscaled[rows] = to_integers(corrected, upscaled.dtype)


def _size(picture: Pixels) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]
