"""Times a network on the device when it is loaded, which also warms it up, and fits its cost model to that."""

from collections.abc import Callable, Sequence
from time import monotonic

import numpy as np

from service.engine.cost_model import CostModel
from service.engine.tiling import ImageTile, TiledImage, Tiling
from service.imaging.pixels import Pixels

CALIBRATION_AREAS = (1 / 64, 1 / 16)
"""Areas of the images on which a network is timed, as shares of its largest tile, where tiles have any shape."""

RunTiles = Callable[[Sequence[ImageTile], bool], None]
"""Runs a batch of the network's tiles, exclusively or on one lane, and returns when it is done."""

SampleType = type[np.uint8 | np.uint16]


def calibrate(run: RunTiles, tiling: Tiling, sample: SampleType) -> CostModel:
    """Fitted to batches of several sizes on one lane, and to the largest one with all lanes.

    Where tiles have fixed sides, each of these is timed, so that none is prepared while a client waits for it.
    """
    sides = tiling.sides or [int((area * tiling.max_tile_pixels) ** 0.5) for area in CALIBRATION_AREAS]
    images = [TiledImage(_noise(side, sample), tiling) for side in sides]
    batches = [(_batch_pixels(image, tiling), _time_batch(run, image, exclusive=False)) for image in images]
    exclusive = _time_batch(run, images[-1], exclusive=True)
    return CostModel.fit(batches, speed_up=batches[-1][1] / exclusive)


def _batch_pixels(image: TiledImage, tiling: Tiling) -> int:
    """Pixels of the planes that a batch of the image's first tile computes."""
    tile = image.tiles[0]
    return tile.pixels * tiling.fixed_batch(tile)


def _time_batch(run: RunTiles, image: TiledImage, *, exclusive: bool) -> float:
    """Seconds of a batch of the image's first tile, after one batch as warm-up."""
    tiles = [ImageTile(image, image.tiles[0])]
    run(tiles, exclusive)
    began = monotonic()
    run(tiles, exclusive)
    return monotonic() - began


def _noise(side: int, sample: SampleType) -> Pixels:
    """A square image of noise."""
    shape = (max(side, 1), max(side, 1), 3)
    return np.random.default_rng(0).integers(0, np.iinfo(sample).max, shape, sample, endpoint=True)
