"""Cuts images into tiles, the unit of work, and puts their results together. Geometry and pixels: no device, no queue.

A network that is *tileable* computes each output pixel from a neighbourhood. A tile's *plane* is the tile with the
halos that its network needs around it; its output is exactly that part of the whole image's output. Where the image
ends, the plane of our own networks goes on with its reflection, and that of imported ones ends, too, since they pad it
as they pad an image. Which tiles an image has depends on its size, its network and the settings, never on the load.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_store import Network, reflected
from service.imaging.pixels import Pixels

Shape = tuple[int, int]
"""Height and width of a plane."""

PIXELS_PER_TILE = 96**2
"""What one more tile costs on a GPU in launches and copies, in pixels of planes."""


@dataclass(frozen=True)
class Tile:
    """`height` × `width` pixels of an image from (`top`, `left`) on, and the sides of its plane."""

    top: int
    left: int
    height: int
    width: int
    plane_height: int
    plane_width: int
    skipped_rows: int = 0
    """Rows of the plane before the tile whose output is dropped."""
    skipped_columns: int = 0

    @property
    def shape(self) -> Shape:
        """Of its plane."""
        return self.plane_height, self.plane_width

    @property
    def pixels(self) -> int:
        """Pixels of its plane, to which the work is proportional."""
        return self.plane_height * self.plane_width


@dataclass(frozen=True)
class TileSizes:
    """How large tiles and batches are. They are bounded by values: numbers in a network's two widest adjacent planes.

    On a CPU tiles have any shape; on a GPU, where shapes must repeat, they are squares of a few fixed sides.
    """

    tile_values: int
    """The most values of a tile, which bounds the memory of a forward pass."""
    sides: tuple[int, ...] = ()
    """Sides of square tiles in output pixels; empty for tiles of any shape."""
    batch_values: int = 0
    """The most values of the tiles of a batch, halos included. A batch has at least one tile."""


class Span(NamedTuple):
    """Pixels of an axis that has `side` of them."""

    begin: int
    length: int
    side: int


class Tiling:
    """How images are cut into tiles for one network."""

    def __init__(self, network: Network, sizes: TileSizes, fixed_batches: Mapping[Shape, int] | None = None) -> None:
        """`fixed_batches`: planes that every batch computes, by the shape of the plane; at most its `batch_limit`."""
        self.scale = network.scale
        self.fixed_batches: Mapping[Shape, int] = dict(fixed_batches or {})
        """By the shape of the plane. A shape that is missing runs in batches of its `batch_limit`."""
        self._network = network
        self._sizes = sizes
        self._whole = network.spec.needs_whole_image
        self._stride = network.stride
        self._halo_before = network.halos(1)[0]
        self._overlap = network.spec.halo if network.pads_planes else 0
        """Pixels on each side of a tile that are computed and dropped."""
        values_per_pixel = network.spec.values_per_pixel
        self.max_tile_pixels = max(int(sizes.tile_values / values_per_pixel), self._stride**2)
        self.sides = self._usable_sides([side // self.scale for side in sizes.sides])
        """Sides of its square tiles in input pixels; empty for tiles of any shape."""
        self._batch_pixels = int(sizes.batch_values / values_per_pixel)

    def plan(self, height: int, width: int) -> list[Tile]:
        """The tiles of an image of that size, row by row; a single one where the network needs the whole image."""
        if self._whole:
            return [self._tile(Span(0, height, height), Span(0, width, width))]
        if self.sides:
            return min((self._squares(height, width, side) for side in self.sides), key=_cost)
        return self._rectangles(height, width)

    def with_batches(self, fixed_batches: Mapping[Shape, int]) -> "Tiling":
        """The same with other `fixed_batches`."""
        return Tiling(self._network, self._sizes, fixed_batches)

    def batch_limit(self, tile: Tile) -> int:
        """The most tiles of that shape whose planes may be in memory together: 1 or more."""
        return max(1, self._batch_pixels // tile.pixels)

    def max_batch(self, tile: Tile) -> int:
        """The most tiles of that shape that are given to the device at a time: 1 or more."""
        return self.fixed_batch(tile) if self.sides else self.batch_limit(tile)

    def fixed_batch(self, tile: Tile) -> int:
        """Planes of that shape that every batch computes. Where shapes repeat, a smaller batch is padded to this."""
        return self.fixed_batches.get(tile.shape, self.batch_limit(tile)) if self.sides else 1

    def cut(self, image: Pixels, tile: Tile) -> Pixels:
        """The tile's plane, (plane_height, plane_width, 3): a view of the image where the plane lies inside it."""
        top = tile.top - tile.skipped_rows - self._halo_before
        left = tile.left - tile.skipped_columns - self._halo_before
        height, width, _ = image.shape
        if 0 <= top <= height - tile.plane_height and 0 <= left <= width - tile.plane_width:
            return image[top : top + tile.plane_height, left : left + tile.plane_width]
        return cut_reflected(image, top, left, tile.plane_height, tile.plane_width)

    def _rectangles(self, height: int, width: int) -> list[Tile]:
        """Nearly equal, nearly square tiles of at most `max_tile_pixels`; a thin tile counts as wide as its halos."""
        thin, most = sum(self._network.halos(self._stride)) + 2 * self._overlap, self.max_tile_pixels
        added = 0 if self._network.pads_planes else thin  # an image that is not cut needs no halos there
        if max(height, added) * max(width, added) <= most:
            return [self._tile(Span(0, height, height), Span(0, width, width))]
        across = self._even_length(width, max(math.isqrt(most), most // max(height, thin)))
        down = self._even_length(height, most // max(across, thin))
        return [
            self._tile(Span(top, min(down, height - top), height), Span(left, min(across, width - left), width))
            for top in range(0, height, down)
            for left in range(0, width, across)
        ]

    def _even_length(self, side: int, most: int) -> int:
        """The length of equal parts of a side: a multiple of the stride, at most `most` where that is possible."""
        most = max(most // self._stride * self._stride, self._stride)
        return math.ceil(side / math.ceil(side / most) / self._stride) * self._stride

    def _squares(self, height: int, width: int, side: int) -> list[Tile]:
        """Tiles whose planes all have the size of a square of `side` pixels, however much of it the image fills."""
        plane = sum(self._network.halos(side)) + side
        return [
            Tile(top, left, min(side, height - top), min(side, width - left), plane, plane)
            for top in range(0, height, side)
            for left in range(0, width, side)
        ]

    def _tile(self, rows: Span, columns: Span) -> Tile:
        (above, height), (before, width) = self._plane(rows), self._plane(columns)
        return Tile(rows.begin, columns.begin, rows.length, columns.length, height, width, above, before)

    def _plane(self, span: Span) -> tuple[int, int]:
        """Along one axis, the pixels that are computed before the tile and dropped, and the length of the plane."""
        if not self._network.pads_planes:
            return 0, span.length + sum(self._network.halos(span.length))
        begin = max(0, span.begin - self._overlap) // self._stride * self._stride
        end = math.ceil((span.begin + span.length + self._overlap) / self._stride) * self._stride
        return span.begin - begin, min(end, span.side) - begin

    def _usable_sides(self, sides: list[int]) -> list[int]:
        """The sides that are multiples of the stride and small enough, or else the largest such side.

        None for a network that needs whole images, or whose planes end where images do: their shapes do not repeat.
        """
        if not sides or self._whole or self._network.pads_planes:
            return []
        usable = [side for side in sides if side > 0 and side % self._stride == 0 and side**2 <= self.max_tile_pixels]
        return usable or [math.isqrt(self.max_tile_pixels) // self._stride * self._stride]


class TiledImage:
    """One image on its way through a network: tiles are cut from it, and their results pasted into its result.

    Different tiles can be cut and pasted by different threads at the same time.
    """

    def __init__(self, image: Pixels, tiling: Tiling, tiles: Sequence[Tile] | None = None) -> None:
        """`image`: uint8 or uint16 (H, W, 3). Its result, of the same type, is (H × scale, W × scale, 3).

        `tiles`: what `tiling` plans for that size, where it is known already.
        """
        height, width, _ = image.shape
        self.image = image
        self.tiles = tiling.plan(height, width) if tiles is None else tiles
        self.statistics: dict[torch.device, Tensor] = {}
        """The thumbnail statistics of the image, (1, 2, K), by the device that computed them, where they are needed."""
        self._tiling = tiling
        whole = len(self.tiles) == 1
        self.result: Pixels = np.empty((0 if whole else height * tiling.scale, width * tiling.scale, 3), image.dtype)

    def cut(self, tile: Tile) -> Pixels:
        """The tile's plane, (plane_height, plane_width, 3), of the image's type."""
        return self._tiling.cut(self.image, tile)

    def paste(self, tile: Tile, output: Pixels) -> None:
        """Paste the network's output for a tile, with sides of at least the tile's × scale; the rest is cropped."""
        scale = self._tiling.scale
        top, left, height, width = (scale * side for side in (tile.top, tile.left, tile.height, tile.width))
        output = output[scale * tile.skipped_rows :, scale * tile.skipped_columns :]
        if len(self.tiles) == 1:
            self.result = np.ascontiguousarray(output[:height, :width])
        else:
            self.result[top : top + height, left : left + width] = output[:height, :width]


@dataclass(frozen=True)
class ImageTile:
    """One tile of one image, as the runner takes it."""

    image: TiledImage
    tile: Tile

    def cut(self) -> Pixels:
        """Its plane, (plane_height, plane_width, 3)."""
        return self.image.cut(self.tile)

    def paste(self, output: Pixels) -> None:
        """Paste the network's output for it into the result of the image."""
        self.image.paste(self.tile, output)


def cut_reflected(image: Pixels, top: int, left: int, height: int, width: int) -> Pixels:
    """`height` × `width` pixels of an image (H, W, 3) from (`top`, `left`) on, which goes on with its reflection.

    What lies inside the image is copied in rows; only the margins are gathered pixel by pixel, which is slow.
    """
    rows = reflected(image.shape[0], top, top + height).numpy()
    columns = reflected(image.shape[1], left, left + width).numpy()
    above, below = _inside(image.shape[0], top, height)
    before, after = _inside(image.shape[1], left, width)
    plane: Pixels = np.empty((height, width, 3), image.dtype)
    plane[above:below, before:after] = image[top + above : top + below, left + before : left + after]
    for margin in (slice(0, before), slice(after, width)):
        plane[above:below, margin] = image[top + above : top + below, columns[margin]]
    for margin in (slice(0, above), slice(below, height)):
        found = rows[margin] - top
        if np.all((above <= found) & (found < below)):
            plane[margin] = plane[found]  # whole rows, which are there already
        else:
            plane[margin] = image[rows[margin, None], columns]
    return plane


def _inside(side: int, begin: int, length: int) -> tuple[int, int]:
    """Which of `length` pixels from `begin` on lie inside an axis of `side` pixels: first and one after the last."""
    return min(max(-begin, 0), length), max(min(side - begin, length), 0)


def _cost(tiles: list[Tile]) -> int:
    return sum(tile.pixels + PIXELS_PER_TILE for tile in tiles)
