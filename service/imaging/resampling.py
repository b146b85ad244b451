"""Resizes pictures with separable, antialiasing kernels, a band of rows at a time; uint8, uint16 or float32.

An output pixel is the weighted mean of the input pixels under a kernel, which is stretched by the scale factor where
the picture shrinks. Weights beyond the edge are dropped. Pillow works in the same way and is the reference of the
tests, but it resizes RGB in 8 bits only. The kernels of neighbouring output pixels overlap so much that multiplying by
small dense matrices is several times as fast as evaluating every kernel by itself.

Values are resampled as they are stored, not in linear light: the networks were trained on such reductions, and an
upscaled image that is reduced again equals the photo, where in linear light it would be 1.5 levels of 256 brighter.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.imaging.pixels import BAND_VALUES, Pixels, row_bands

Floats = NDArray[np.float32]
Samples = NDArray[Any]
"""(H, W, C) of uint8, uint16 or float32."""

OUTPUT_BLOCK = 16
"""Output rows or columns that one matrix product computes; bands of rows are aligned to it."""


@dataclass(frozen=True)
class Kernel:
    """A filter: its weight as a function of the distance in pixels, zero beyond `support`."""

    support: float
    weigh: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.maximum(0.0, 1 - np.abs(x))
    return weights


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def gaussian(deviation: float) -> Kernel:
    """A normal distribution of that standard deviation in pixels, cut off at four of them; for blurring only."""
    reach = 4 * deviation
    return Kernel(reach, lambda x: np.where(np.abs(x) < reach, np.exp(-((x / deviation) ** 2) / 2), 0.0))


TRIANGLE = Kernel(1.0, _triangle)
"""Bilinear: does not overshoot."""

CUBIC = Kernel(2.0, _cubic)
"""Bicubic with a = −½ (Keys 1981), by which the networks' low-resolution images are made in training."""

LANCZOS = Kernel(3.0, _lanczos)
"""Lanczos with three lobes: the sharpest of the three, for photos."""


class Axis:
    """The weights with which the output pixels of one axis are computed from its input pixels."""

    def __init__(self, source: int, target: int, kernel: Kernel) -> None:
        """`source` and `target` are lengths in pixels."""
        self._first, self._weights = _weigh_taps(source, target, kernel)
        self._taps = np.arange(self._weights.shape[1])
        self._interleaved: dict[tuple[int, int], Floats] = {}
        self.target = target
        self.shrinks = target < source

    def source_span(self, begin: int, end: int) -> slice:
        """The input pixels that output pixels `begin` to `end` depend on."""
        return slice(int(self._first[begin]), int(self._first[end - 1]) + len(self._taps))

    def resample_vertically(self, rows: Floats, begin: int, end: int) -> Floats:
        """Compute output rows `begin` to `end`, (end − begin, M), from those of `source_span(begin, end)`, (N, M)."""
        offset = self.source_span(begin, end).start
        result = np.empty((end - begin, rows.shape[1]), np.float32)
        for first, last in _blocks(begin, end):
            span = self.source_span(first, last)
            block = rows[span.start - offset : span.stop - offset]
            np.matmul(self._matrix(first, last), block, out=result[first - begin : last - begin])
        return result

    def resample_horizontally(self, rows: Floats, channels: int) -> Floats:
        """Compute all output columns, (N, W'·C), of rows of interleaved pixels, (N, W·C)."""
        result = np.empty((len(rows), self.target * channels), np.float32)
        for first, last in _blocks(0, self.target):
            span = self.source_span(first, last)
            block = rows[:, span.start * channels : span.stop * channels]
            result[:, first * channels : last * channels] = block @ self._interleaved_matrix(first, last, channels)
        return result

    def _interleaved_matrix(self, begin: int, end: int, channels: int) -> Floats:
        """The transposed matrix of a block, with every weight repeated for each channel of a pixel."""
        key = begin, channels
        if key not in self._interleaved:
            identity = np.eye(channels, dtype=np.float32)
            self._interleaved[key] = np.kron(self._matrix(begin, end).T, identity).astype(np.float32)
        return self._interleaved[key]

    def _matrix(self, begin: int, end: int) -> Floats:
        span = self.source_span(begin, end)
        matrix = np.zeros((end - begin, span.stop - span.start), np.float32)
        columns = self._first[begin:end, None] + self._taps - span.start
        matrix[np.arange(end - begin)[:, None], columns] = self._weights[begin:end]
        return matrix


class Resampler:
    """Resamples pictures of one size to another size; any rows of the result can be computed by themselves."""

    def __init__(self, source: tuple[int, int], target: tuple[int, int], kernel: Kernel) -> None:
        """`source` and `target` are (height, width)."""
        self._rows = Axis(source[0], target[0], kernel)
        self._columns = Axis(source[1], target[1], kernel)

    def resample_rows(self, picture: Samples, rows: slice) -> Floats:
        """Compute rows of the result, float32 (rows, W', C), neither rounded nor clipped.

        The direction that leaves fewer values for the other one is resampled first.
        """
        source = picture[self._rows.source_span(rows.start, rows.stop)].astype(np.float32, copy=False)
        if self._rows.shrinks:
            return self._resample_width(self._resample_height(source, rows))
        return self._resample_height(self._resample_width(source), rows)

    def _resample_height(self, source: Floats, rows: slice) -> Floats:
        flat = self._rows.resample_vertically(source.reshape(len(source), -1), rows.start, rows.stop)
        return flat.reshape(len(flat), *source.shape[1:])

    def _resample_width(self, source: Floats) -> Floats:
        height, _, channels = source.shape
        flat = self._columns.resample_horizontally(source.reshape(height, -1), channels)
        return flat.reshape(height, -1, channels)


def resize(
    picture: Pixels, height: int, width: int, kernel: Kernel = LANCZOS, *, band_values: int = BAND_VALUES
) -> Pixels:
    """Resample (H, W, C) to another size; a picture that has that size is returned as it is."""
    old_height, old_width, channels = picture.shape
    if (old_height, old_width) == (height, width):
        return picture
    result: Pixels = np.empty((height, width, channels), picture.dtype)
    resampler = Resampler((old_height, old_width), (height, width), kernel)
    for rows in row_bands(height, max(old_width, width) * channels, OUTPUT_BLOCK, band_values):
        result[rows] = to_integers(resampler.resample_rows(picture, rows), picture.dtype)
    return result


def to_integers(values: Floats, dtype: np.dtype[Any]) -> Pixels:
    """Round to the nearest integer and clip to the range of `dtype`; `values` is overwritten."""
    np.rint(values, out=values)
    np.clip(values, 0, np.iinfo(dtype).max, out=values)
    result: Pixels = values.astype(dtype)
    return result


def _weigh_taps(source: int, target: int, kernel: Kernel) -> tuple[NDArray[np.int64], Floats]:
    """The first input pixel of every output pixel, (target,), and the weights from there on, (target, taps)."""
    factor = source / target
    stretch = max(1.0, factor)
    reach = kernel.support * stretch
    centre = (np.arange(target) + 0.5) * factor
    taps = min(source, math.ceil(reach) * 2 + 1)
    first = np.clip(np.floor(centre - reach + 0.5).astype(np.int64), 0, source - taps)
    weights = kernel.weigh((first[:, None] + np.arange(taps) + 0.5 - centre[:, None]) / stretch)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _blocks(begin: int, end: int) -> Iterator[tuple[int, int]]:
    for first in range(begin, end, OUTPUT_BLOCK):
        yield first, min(first + OUTPUT_BLOCK, end)
