"""Cuts an image into tiles, the unit of work, and puts their results together. Bytes and geometry: no device, no queue.

For a network that is local (`NetworkSpec.tileable`), the output of a tile's plane (the tile with what its margins need
around it, reflected where the image ends) is exactly that part of the whole image's output. The plan is a function of
the image's size, of the network and of the settings, never of the load: neither is the answer.
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from model_store import Architecture, TransformNetwork, reflected
from service.photographs import Pixels

PER_TILE = 96**2
"""Plane pixels that one more tile costs on a device that is fed tile by tile, in launches and copies."""


@dataclass(frozen=True)
class Tile:
    """`height` × `width` pixels of an image from (`top`, `left`) on, and the sides of the plane that gives them."""

    top: int
    left: int
    height: int
    width: int
    plane_height: int
    plane_width: int

    @property
    def pixels(self) -> int:
        """Of its plane, to which the work of a pass is proportional."""
        return self.plane_height * self.plane_width


@dataclass(frozen=True)
class TileSizes:
    """How large tiles are: of any shape up to so many values, or squares of fixed sides where shapes must repeat."""

    values: int
    """Numbers that the two widest neighbouring planes of a tile may hold together: what bounds the memory of a pass."""
    ladder: tuple[int, ...] = ()
    """Sides in output pixels of which each image gets one; empty where every shape is as good (a CPU)."""
    batch_values: int = 0
    """The same numbers of all tiles that share a pass, together with their margins; one tile runs in any case."""


class Tiling:
    """How images are cut for one network."""

    def __init__(self, network: TransformNetwork, sizes: TileSizes) -> None:
        self.scale = network.scale
        self._network = network
        self._tileable = network.spec.tileable
        self._stride = network.geometry.stride
        self._before = network.margins(1)[0]
        footprint = Architecture.parse(network.spec.architecture).values_per_pixel
        self.most = max(int(sizes.values / footprint), self._stride**2)
        """Pixels of the largest tile."""
        self.sides = self._ladder([side // self.scale for side in sizes.ladder])
        """Of its tiles in input pixels, where shapes must repeat; empty where they are free."""
        self._batch_pixels = int(sizes.batch_values / footprint)

    def plan(self, height: int, width: int) -> list[Tile]:
        """The tiles of an image of that size, row by row; one where the network is not local."""
        if not self._tileable:
            return [self._tile(0, 0, height, width)]
        if self.sides:
            return min((self._squares(height, width, side) for side in self.sides), key=_cost)
        return self._parts(height, width)

    def together(self, tile: Tile) -> int:
        """How many tiles of that shape share a pass, at most: 1 or more."""
        return max(1, self._batch_pixels // tile.pixels)

    def full(self, tile: Tile) -> int:
        """How many planes of that shape every pass computes: where shapes repeat, it is filled up."""
        return self.together(tile) if self.sides else 1

    def cut(self, image: Pixels, tile: Tile) -> Pixels:
        """The tile's plane, (plane_height, plane_width, 3): a view of the image where that lies inside it."""
        top, left = tile.top - self._before, tile.left - self._before
        height, width, _ = image.shape
        if 0 <= top <= height - tile.plane_height and 0 <= left <= width - tile.plane_width:
            return image[top : top + tile.plane_height, left : left + tile.plane_width]
        rows = reflected(height, top, top + tile.plane_height).numpy()
        columns = reflected(width, left, left + tile.plane_width).numpy()
        plane: Pixels = image[rows[:, None], columns]
        return plane

    def _parts(self, height: int, width: int) -> list[Tile]:
        """As equal as can be, nearly square, none larger than the most; thin ones count as wide as their margins."""
        thin = sum(self._network.margins(self._stride))
        if max(height, thin) * max(width, thin) <= self.most:
            return [self._tile(0, 0, height, width)]
        across = self._even(width, max(math.isqrt(self.most), self.most // max(height, thin)))
        down = self._even(height, self.most // max(across, thin))
        return [
            self._tile(top, left, min(down, height - top), min(across, width - left))
            for top in range(0, height, down)
            for left in range(0, width, across)
        ]

    def _even(self, side: int, most: int) -> int:
        """The length of equal parts of a side, a multiple of the stride, at most `most` where that is possible."""
        most = max(most // self._stride * self._stride, self._stride)
        return math.ceil(side / math.ceil(side / most) / self._stride) * self._stride

    def _squares(self, height: int, width: int, side: int) -> list[Tile]:
        """Tiles whose planes all are that of a square of `side` pixels, whatever part of it the image fills."""
        plane = sum(self._network.margins(side)) + side
        return [
            Tile(top, left, min(side, height - top), min(side, width - left), plane, plane)
            for top in range(0, height, side)
            for left in range(0, width, side)
        ]

    def _tile(self, top: int, left: int, height: int, width: int) -> Tile:
        margins = self._network.margins
        return Tile(top, left, height, width, height + sum(margins(height)), width + sum(margins(width)))

    def _ladder(self, sides: list[int]) -> list[int]:
        """Those that are no larger than the most, and whose tiles begin where they may; else the largest that is.

        A network that is not local has none: its images stay whole.
        """
        if not sides or not self._tileable:
            return []
        fitting = [side for side in sides if side > 0 and side % self._stride == 0 and side**2 <= self.most]
        return fitting or [math.isqrt(self.most) // self._stride * self._stride]


class Canvas:
    """One image on its way through a network: tiles are cut from it, and their results put together.

    Different tiles can be cut and put in at the same time by different threads.
    """

    def __init__(self, image: Pixels, tiling: Tiling) -> None:
        height, width, _ = image.shape
        self.image = image
        self.tiles = tiling.plan(height, width)
        self.statistics: Tensor | None = None
        """What the network needs to know of the whole image, once the runner has computed it."""
        self._tiling = tiling
        whole = len(self.tiles) == 1
        self.result: Pixels = np.empty((0 if whole else height * tiling.scale, width * tiling.scale, 3), image.dtype)

    def cut(self, tile: Tile) -> Pixels:
        """The tile's plane, (plane_height, plane_width, 3), of the image's type."""
        return self._tiling.cut(self.image, tile)

    def paste(self, tile: Tile, result: Pixels) -> None:
        """Put in what the network made of a tile, its sides at least the tile's × scale; the rest is cropped."""
        scale = self._tiling.scale
        top, left, height, width = (scale * side for side in (tile.top, tile.left, tile.height, tile.width))
        if len(self.tiles) == 1:
            self.result = np.ascontiguousarray(result[:height, :width])
        else:
            self.result[top : top + height, left : left + width] = result[:height, :width]


@dataclass(frozen=True)
class Piece:
    """One tile of one image, as the runner takes it: it cuts the plane and pastes the result."""

    canvas: Canvas
    tile: Tile


def _cost(tiles: list[Tile]) -> int:
    return sum(tile.pixels + PER_TILE for tile in tiles)
