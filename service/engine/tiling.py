"""Cuts images into tiles, the unit of work, and puts their results together. Geometry and pixels: no device, no queue.

A network with `NetworkSpec.tileable` computes each output pixel from a neighbourhood. A tile's *plane* is the tile with
the halos that its network needs around it, reflected where the image ends; its output is exactly that part of the
whole image's output. Which tiles an image has depends on its size, its network and the settings, never on the load.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from model_store import Architecture, TransformNetwork, reflected
from service.imaging.pixels import Pixels

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


class Tiling:
    """How images are cut into tiles for one network."""

    def __init__(self, network: TransformNetwork, sizes: TileSizes) -> None:
        self.scale = network.scale
        self._network = network
        self._tileable = network.spec.tileable
        self._stride = network.geometry.stride
        self._halo_before = network.halos(1)[0]
        values_per_pixel = Architecture.parse(network.spec.architecture).values_per_pixel
        self.max_tile_pixels = max(int(sizes.tile_values / values_per_pixel), self._stride**2)
        self.sides = self._usable_sides([side // self.scale for side in sizes.sides])
        """Sides of its square tiles in input pixels; empty for tiles of any shape."""
        self._batch_pixels = int(sizes.batch_values / values_per_pixel)

    def plan(self, height: int, width: int) -> list[Tile]:
        """The tiles of an image of that size, row by row; a single one where the network is not tileable."""
        if not self._tileable:
            return [self._tile(0, 0, height, width)]
        if self.sides:
            return min((self._squares(height, width, side) for side in self.sides), key=_cost)
        return self._rectangles(height, width)

    def max_batch(self, tile: Tile) -> int:
        """The most tiles of that shape in a batch: 1 or more."""
        return max(1, self._batch_pixels // tile.pixels)

    def fixed_batch(self, tile: Tile) -> int:
        """Planes of that shape that every batch computes. Where shapes repeat, a smaller batch is padded to this."""
        return self.max_batch(tile) if self.sides else 1

    def cut(self, image: Pixels, tile: Tile) -> Pixels:
        """The tile's plane, (plane_height, plane_width, 3): a view of the image where the plane lies inside it."""
        top, left = tile.top - self._halo_before, tile.left - self._halo_before
        height, width, _ = image.shape
        if 0 <= top <= height - tile.plane_height and 0 <= left <= width - tile.plane_width:
            return image[top : top + tile.plane_height, left : left + tile.plane_width]
        rows = reflected(height, top, top + tile.plane_height).numpy()
        columns = reflected(width, left, left + tile.plane_width).numpy()
        plane: Pixels = image[rows[:, None], columns]
        return plane

    def _rectangles(self, height: int, width: int) -> list[Tile]:
        """Nearly equal, nearly square tiles of at most `max_tile_pixels`; a thin tile counts as wide as its halos."""
        thin, most = sum(self._network.halos(self._stride)), self.max_tile_pixels
        if max(height, thin) * max(width, thin) <= most:
            return [self._tile(0, 0, height, width)]
        across = self._even_length(width, max(math.isqrt(most), most // max(height, thin)))
        down = self._even_length(height, most // max(across, thin))
        return [
            self._tile(top, left, min(down, height - top), min(across, width - left))
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

    def _tile(self, top: int, left: int, height: int, width: int) -> Tile:
        halos = self._network.halos
        return Tile(top, left, height, width, height + sum(halos(height)), width + sum(halos(width)))

    def _usable_sides(self, sides: list[int]) -> list[int]:
        """The sides that are multiples of the stride and small enough, or else the largest such side.

        None for a network that is not tileable: its images stay whole.
        """
        if not sides or not self._tileable:
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
        self.statistics: Tensor | None = None
        """The thumbnail statistics of the image, (1, 2, K), once they are computed; for networks that need them."""
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


def _cost(tiles: list[Tile]) -> int:
    return sum(tile.pixels + PIXELS_PER_TILE for tile in tiles)
