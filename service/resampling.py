"""Pictures of other sizes: separable, antialiased, a band of rows at a time. uint8, uint16 or float32; no torch.

An output pixel is the weighted mean of the input pixels under a kernel, stretched by the factor where the picture gets
smaller. What a kernel would weigh beyond the edge is left out. These are Pillow's conventions, which is the reference
of the tests; Pillow has them for RGB in 8 bits only. The weights of neighbouring pixels overlap so much that a product
with a small dense matrix is several times as fast as following each kernel.

It works on the numbers of the file, not in linear light. Networks have learnt from such reductions; an enlargement that
is reduced to its photograph's size is that photograph, where in linear light it would be 1.5 levels of 256 brighter.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.photographs import Pixels

Floats = NDArray[np.float32]
Plane = NDArray[Any]
"""(H, W, C) of uint8, uint16 or float32."""

BAND = 2**22
"""Numbers in a band, about: 16 megabytes, so that neighbouring bands compute little twice."""

BLOCK = 16
"""Output pixels in a row or column that are computed by one product."""


@dataclass(frozen=True)
class Kernel:
    """A filter: a function of the distance in pixels, zero beyond `support`."""

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
    """The normal distribution, to four standard deviations (in pixels), not antialiased: to blur, not to resize."""
    reach = 4 * deviation
    return Kernel(reach, lambda x: np.where(np.abs(x) < reach, np.exp(-((x / deviation) ** 2) / 2), 0.0))


TRIANGLE = Kernel(1.0, _triangle)
"""Bilinear: never brighter or darker than what it stands for."""

CUBIC = Kernel(2.0, _cubic)
"""Keys 1981 with a = −½: how the networks' low-resolution images are made in training."""

LANCZOS = Kernel(3.0, _lanczos)
"""Three lobes: the sharpest of the three, for photographs."""


class Axis:
    """The weights by which pixels of one axis are made of those before."""

    def __init__(self, before: int, after: int, kernel: Kernel) -> None:
        factor = before / after
        stretch = max(1.0, factor)
        reach = kernel.support * stretch
        centre = (np.arange(after) + 0.5) * factor
        taps = min(before, math.ceil(reach) * 2 + 1)
        self._taps = np.arange(taps)
        self._first = np.clip(np.floor(centre - reach + 0.5).astype(np.int64), 0, before - taps)
        weights = kernel.weigh((self._first[:, None] + self._taps + 0.5 - centre[:, None]) / stretch)
        self._weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        self._weaves: dict[tuple[int, int], Floats] = {}
        self.after = after
        self.shrinks = after < before

    def span(self, begin: int, end: int) -> slice:
        """The pixels before of which those from `begin` to `end` are made."""
        return slice(int(self._first[begin]), int(self._first[end - 1]) + len(self._taps))

    def down(self, rows: Floats, begin: int, end: int) -> Floats:
        """Rows `begin` to `end` after, (end − begin, M), of those of `span(begin, end)`, (N, M)."""
        offset = self.span(begin, end).start
        result = np.empty((end - begin, rows.shape[1]), np.float32)
        for first, last in _blocks(begin, end):
            under = self.span(first, last)
            block = rows[under.start - offset : under.stop - offset]
            np.matmul(self._matrix(first, last), block, out=result[first - begin : last - begin])
        return result

    def across(self, rows: Floats, channels: int) -> Floats:
        """All columns after, (N, W'·C), of rows of pixels, (N, W·C).

        The channels of a pixel lie side by side, so that the matrices have each weight once for each of them.
        """
        result = np.empty((len(rows), self.after * channels), np.float32)
        for first, last in _blocks(0, self.after):
            under = self.span(first, last)
            block = rows[:, under.start * channels : under.stop * channels]
            result[:, first * channels : last * channels] = block @ self._woven(first, last, channels)
        return result

    def _woven(self, begin: int, end: int, channels: int) -> Floats:
        key = begin, channels
        if key not in self._weaves:
            identity = np.eye(channels, dtype=np.float32)
            self._weaves[key] = np.kron(self._matrix(begin, end).T, identity).astype(np.float32)
        return self._weaves[key]

    def _matrix(self, begin: int, end: int) -> Floats:
        under = self.span(begin, end)
        matrix = np.zeros((end - begin, under.stop - under.start), np.float32)
        columns = self._first[begin:end, None] + self._taps - under.start
        matrix[np.arange(end - begin)[:, None], columns] = self._weights[begin:end]
        return matrix


class Resampling:
    """From pictures of one size to those of another; any band of the result can be computed by itself."""

    def __init__(self, before: tuple[int, int], after: tuple[int, int], kernel: Kernel) -> None:
        """`before` and `after` are (height, width)."""
        self._rows = Axis(before[0], after[0], kernel)
        self._columns = Axis(before[1], after[1], kernel)

    def band(self, picture: Plane, begin: int, end: int) -> Floats:
        """Rows `begin` to `end` of the result, float32 (end − begin, W', C), not rounded and not clipped."""
        source = picture[self._rows.span(begin, end)].astype(np.float32, copy=False)
        if self._rows.shrinks:
            return self._across(self._down(source, begin, end))
        return self._down(self._across(source), begin, end)

    def _down(self, source: Floats, begin: int, end: int) -> Floats:
        flat = self._rows.down(source.reshape(len(source), -1), begin, end)
        return flat.reshape(end - begin, *source.shape[1:])

    def _across(self, source: Floats) -> Floats:
        height, _, channels = source.shape
        flat = self._columns.across(source.reshape(height, -1), channels)
        return flat.reshape(height, -1, channels)


def resized(picture: Pixels, height: int, width: int, kernel: Kernel = LANCZOS) -> Pixels:
    """A picture, uint8 or uint16 (H, W, C), in another size; itself where that is its own."""
    before = picture.shape[:2]
    if before == (height, width):
        return picture
    result: Pixels = np.empty((height, width, picture.shape[2]), picture.dtype)
    resampling = Resampling((before[0], before[1]), (height, width), kernel)
    for begin, end in bands(height, max(before[1], width) * picture.shape[2]):
        result[begin:end] = rounded(resampling.band(picture, begin, end), picture.dtype)
    return result


def rounded(values: Floats, kind: np.dtype[Any]) -> Pixels:
    """Values in units of an integer type as that type, clipped to its range; they are changed in place."""
    np.rint(values, out=values)
    np.clip(values, 0, np.iinfo(kind).max, out=values)
    result: Pixels = values.astype(kind)
    return result


def bands(height: int, row: int) -> Iterator[tuple[int, int]]:
    """Begin and end of bands of rows, each row of so many numbers."""
    rows = max(BLOCK, BAND // row // BLOCK * BLOCK)
    for begin in range(0, height, rows):
        yield begin, min(begin + rows, height)


def _blocks(begin: int, end: int) -> Iterator[tuple[int, int]]:
    for first in range(begin, end, BLOCK):
        yield first, min(first + BLOCK, end)
