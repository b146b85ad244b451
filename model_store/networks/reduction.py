"""The thumbnail of an image: what thumbnail normalisation is measured on.

It is the image reduced to fit a square, each pixel the mean of the area it covers; an image that fits is its own. Its
sides are those of the image divided by one factor and rounded.

A network's deepest plane has a quarter of these sides, and on a few rows its means and variances say little: such a
thumbnail gave one flat colour for an icon and glaring ones for a strip. So no side is under `least_side`:

- Of an elongated image the thumbnail has four squares, whole in height and evenly spaced along the image, two by two,
  each reduced to half the side of the usual thumbnail. They cover the whole image where it is less than four squares.
- An image smaller than that is mirrored at its borders a whole number of times, so that all of it counts alike. It is
  what a network in the *native* form sees around the image, too. So is its longer side where it is under twice as much:
  64×2 pixels have few values of their own.
"""

import math
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model_store.networks.layers import reflected
from model_store.networks.plain_parts import without_plain_parts

Pixels = NDArray[np.uint8 | np.uint16]
"""RGB (H, W, 3), using the whole range of the type."""

LEAST_SIDE = 61
"""Pixels of the shorter side from which on a thumbnail is the image itself, reduced. The height of golden inputs, which
have to stay their own thumbnails."""

LEAST_CONTRAST = 1 / 255
"""Standard deviation, in [0, 1], of the means of 4×4 pixels below which a thumbnail gets grain: a level of 8 bits."""

_GRAIN_CELL = 4
"""Pixels of a side of the means. A style network's deepest plane has a value for as many."""

_FEW = 32
"""Pixels of a cell up to which their sum is exact enough in float32."""

_MAX_ASPECT = 4
"""Width over height above which an image is reduced column by column, since its rows are too long."""


def thumbnail(pixels: Pixels, side: int) -> Tensor:
    """The thumbnail of RGB (H, W, 3), the longer side about `side` at most: float32 (1, 3, h, w) in [0, 1].

    It equals that of `area_reduced` to 1e-6, but the image is never converted to float as a whole. Only strips as high
    as a pixel of the thumbnail are, and their means: some tens of megabytes for 100 megapixels, whatever the sides.
    """
    squares = squares_along(pixels.shape[0], pixels.shape[1], side)
    if not squares:
        return _mirrored(_reduced_pixels(pixels, side), side)
    return _joined([_mirrored(_reduced_pixels(pixels[square], side // 2), side) for square in squares])


def area_reduced(image: Tensor, side: int) -> Tensor:
    """The thumbnail of float (N, 3, H, W), the longer side about `side` at most, in float32.

    An image that is its own thumbnail is returned itself, in its own precision.
    """
    squares = squares_along(image.shape[-2], image.shape[-1], side)
    if not squares:
        return _mirrored(_reduced_tensor(image, side), side)
    return _joined([_mirrored(_reduced_tensor(image[..., *square], side // 2), side) for square in squares])


def to_measure(thumbnails: Tensor, noise: Tensor | None = None) -> Tensor:
    """Thumbnails, float (N, 3, H, W) in [0, 1], as `TransformNetwork.measure` takes them.

    Without their plain parts, and with grain where they lack contrast; see there for `noise`.
    """
    return with_grain(without_plain_parts(thumbnails), noise)


def with_grain(thumbnail: Tensor, noise: Tensor | None = None) -> Tensor:
    """Thumbnails, float (N, 3, H, W), with as much grain as they lack contrast; with enough of it, the same values.

    The variances of a picture of one colour are 0, and normalised by them its rounding errors would decide on its
    colour. The grain is the same noise for every picture, grey and white, as that of a sensor: that of `grain`, which a
    graph brings along.
    """
    height, width = thumbnail.shape[-2:]
    means = F.avg_pool2d(thumbnail.float(), (min(_GRAIN_CELL, height), min(_GRAIN_CELL, width)))
    variance = (means - means.mean((2, 3), keepdim=True)).square().mean((1, 2, 3), keepdim=True)
    missing = (LEAST_CONTRAST**2 - variance).clamp(min=0).sqrt()
    unit = _grain_on(thumbnail.device, height * width) if noise is None else noise[: height * width]
    return thumbnail + missing * unit.view(height, width).to(thumbnail.device)


def grain(pixels: int) -> Tensor:
    """White noise (pixels,), whose first values do not depend on how many there are.

    The standard deviation of the means of its cells is 1.
    """
    noise = torch.rand(pixels, generator=torch.Generator().manual_seed(0)) - 0.5
    return noise * (12**0.5 * _GRAIN_CELL)


def _grain_on(device: torch.device, pixels: int) -> Tensor:
    """`grain` on a device. On a GPU it is kept: an upload would wait for all that runs, and break a CUDA graph."""
    return kept_grain(device, 1 << (pixels - 1).bit_length())[:pixels] if device.type == "cuda" else grain(pixels)


@cache
def kept_grain(device: torch.device, pixels: int) -> Tensor:
    """For ever, as CUDA graphs read it where it is: 2 MB on each GPU, at most 34 for thumbnails of 1024 pixels."""
    with torch.inference_mode(mode=False):  # it may take part in a training step as well
        return grain(pixels).to(device)


def is_own_thumbnail(height: int, width: int, side: int) -> bool:
    """Whether an image of that height and width is its own thumbnail."""
    return max(height, width) <= side and min(height, width) >= least_side(side)


def least_side(side: int) -> int:
    """The shorter side, in pixels, under which a thumbnail is mirrored, or made of squares along the image."""
    return min(LEAST_SIDE, side // 4)


def reduced_sides(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width, in pixels, of an image reduced to fit a square of `side`."""
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def squares_along(height: int, width: int, side: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the four squares of an elongated image; none for other images.

    Along the image they are shorter than across where four squares are more than the image, and longer, up to half of
    `side`, where the image is that narrow. They depend on the size alone, and touch both ends of the image.
    """
    longer, shorter = max(height, width), min(height, width)
    if longer <= side or min(reduced_sides(height, width, side)) >= least_side(side):
        return []
    length = min(max(shorter, side // 2), longer // 4)
    along = [slice(begin, begin + length) for begin in (part * (longer - length) // 3 for part in range(4))]
    across = slice(0, shorter)
    return [(across, part) if width > height else (part, across) for part in along]


def _joined(parts: list[Tensor]) -> Tensor:
    """Four pictures of one size, two by two."""
    return torch.cat([torch.cat(parts[:2], dim=-1), torch.cat(parts[2:], dim=-1)], dim=-2)


def _mirrored(image: Tensor, side: int) -> Tensor:
    """Where a side is shorter than `least_side`, mirrored along each axis that is shorter than twice that, to more."""
    least = least_side(side)
    if min(image.shape[-2:]) >= least:
        return image
    for axis in (-2, -1):
        pixels = image.shape[axis]
        if pixels < 2 * least:
            period = max(pixels - 1, 1)  # the pixel at the border is not repeated
            length = max(2, round(2 * least / period)) * period + 1
            image = image.index_select(axis, reflected(pixels, 0, length, image.device))
    return image


def _reduced_pixels(pixels: Pixels, side: int) -> Tensor:
    """RGB (H, W, 3) reduced to fit a square of `side`: float32 (1, 3, h, w) in [0, 1]."""
    height, width = pixels.shape[:2]
    if width > _MAX_ASPECT * height:
        return _reduced_pixels(pixels.swapaxes(0, 1), side).mT
    rows, columns = reduced_sides(height, width, side)
    fewer_rows = _mean_rows(pixels, rows)
    reduced = _mean_rows(np.ascontiguousarray(fewer_rows.swapaxes(0, 1)), columns)
    return torch.from_numpy(reduced).permute(2, 1, 0)[None] / np.iinfo(pixels.dtype).max


def _reduced_tensor(image: Tensor, side: int) -> Tensor:
    """Float (N, 3, H, W) reduced to fit a square of `side`, in float32; itself where it fits."""
    height, width = image.shape[-2:]
    if max(height, width) <= side:
        return image
    rows, columns = reduced_sides(height, width, side)
    with torch.autocast(image.device.type, enabled=False):
        fewer_rows = _area_weights(height, rows, image.device) @ image.float()
        return fewer_rows @ _area_weights(width, columns, image.device).T


def _mean_rows(pixels: NDArray[Any], rows: int) -> NDArray[np.float32]:
    """(H, W, 3) reduced in height alone to (rows, W, 3), in units of the type."""
    flat = pixels.reshape(len(pixels), -1)
    means = np.empty((rows, flat.shape[1]), np.float32)
    for mean, cell in zip(means, _cells(len(pixels), rows), strict=True):
        mean[:] = cell.weights @ flat[cell.first : cell.end].astype(cell.weights.dtype)
    return means.reshape(rows, *pixels.shape[1:])


class _Cell(NamedTuple):
    """Pixels `first` to `end` - 1 of an axis, and their shares of a cell."""

    first: int
    end: int
    weights: NDArray[np.float32 | np.float64]


@lru_cache(maxsize=64)
def _cells(pixels: int, count: int) -> tuple[_Cell, ...]:
    """An axis of `pixels` in cells of equal length."""
    found = []
    for cell in range(count):
        begin, end = cell * pixels / count, (cell + 1) * pixels / count
        first, last = int(begin), min(math.ceil(end), pixels)
        weights = np.ones(last - first)
        weights[0] -= begin - first
        weights[-1] -= last - end
        exact = np.float32 if last - first <= _FEW else np.float64
        found.append(_Cell(first, last, (weights / (end - begin)).astype(exact)))
    return tuple(found)


def _area_weights(pixels: int, cells: int, device: torch.device) -> Tensor:
    """(cells, pixels) in float32: the share of each cell that lies in each pixel, for cells of equal length."""
    edges = torch.arange(cells + 1, dtype=torch.float64, device=device)[:, None] * (pixels / cells)
    begin, end = edges[:-1], edges[1:]
    pixel = torch.arange(pixels, dtype=torch.float64, device=device)
    covered = torch.minimum(pixel + 1, end) - torch.maximum(pixel, begin)
    return (covered.clamp(min=0) / (end - begin)).float()
