"""The thumbnail of an image: reduced to fit a square, each pixel the mean of the area it covers.

Its sides are those of the image divided by one factor and rounded, at least 1. An image that fits is its own thumbnail.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8 | np.uint16]
"""RGB (H, W, 3), using the whole range of the type."""

_MAX_ASPECT = 4
"""Width over height above which an image is reduced column by column, since its rows are too long."""


def thumbnail(pixels: Pixels, side: int) -> Tensor:
    """The thumbnail of RGB (H, W, 3), the longer side at most `side`: float32 (1, 3, h, w) in [0, 1].

    It equals that of `area_reduced` to 1e-6, but the image is never converted to float as a whole. Only strips as high
    as a pixel of the thumbnail are, and their means: some tens of megabytes for 100 megapixels, whatever the sides.
    """
    height, width = pixels.shape[:2]
    if width > _MAX_ASPECT * height:
        return thumbnail(pixels.swapaxes(0, 1), side).mT
    rows, columns = reduced_sides(height, width, side)
    strips = torch.from_numpy(np.stack([_mean_row(pixels, row, rows) for row in range(rows)]))
    reduced = strips.permute(2, 0, 1) @ _area_weights(width, columns, strips.device).T
    return reduced[None] / np.iinfo(pixels.dtype).max


def area_reduced(image: Tensor, side: int) -> Tensor:
    """The thumbnail of float (N, 3, H, W), the longer side at most `side`, in float32.

    An image that fits is returned itself, in its own precision.
    """
    height, width = image.shape[-2:]
    if max(height, width) <= side:
        return image
    rows, columns = reduced_sides(height, width, side)
    with torch.autocast(image.device.type, enabled=False):
        fewer_rows = _area_weights(height, rows, image.device) @ image.float()
        return fewer_rows @ _area_weights(width, columns, image.device).T


def reduced_sides(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of the thumbnail, in pixels."""
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _mean_row(pixels: Pixels, row: int, rows: int) -> NDArray[np.float32]:
    """Row `row` of `rows` of the image reduced in height alone: (W, 3), in units of the type."""
    begin, end = row * len(pixels) / rows, (row + 1) * len(pixels) / rows
    first, last = int(begin), min(math.ceil(end), len(pixels))
    exact = np.uint32 if pixels.itemsize == 1 else np.uint64  # no overflow up to 2²⁴ rows, or 2⁴⁸
    total = pixels[first:last].sum(axis=0, dtype=exact)
    outside = (begin - first) * pixels[first] + (last - end) * pixels[last - 1]
    mean: NDArray[np.float32] = ((total - outside) / (end - begin)).astype(np.float32)
    return mean


def _area_weights(pixels: int, cells: int, device: torch.device) -> Tensor:
    """(cells, pixels) in float32: the share of each cell that lies in each pixel, for cells of equal length."""
    edges = torch.arange(cells + 1, dtype=torch.float64, device=device)[:, None] * (pixels / cells)
    begin, end = edges[:-1], edges[1:]
    pixel = torch.arange(pixels, dtype=torch.float64, device=device)
    covered = torch.minimum(pixel + 1, end) - torch.maximum(pixel, begin)
    return (covered.clamp(min=0) / (end - begin)).float()
