"""Times a network on the device when it is loaded, which also warms it up: the size of its batches, and their cost."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic

import numpy as np
from pydantic import BaseModel, ConfigDict

from service.engine.cost_model import CostModel
from service.engine.tiling import ImageTile, Shape, TiledImage, Tiling
from service.errors import OutOfDeviceMemory
from service.imaging.pixels import Pixels

CALIBRATION_AREAS = (1 / 64, 1 / 16)
"""Areas of the images on which a network is timed, as shares of its largest tile, where tiles have any shape."""

THROUGHPUT = 0.8
"""Of the best one, that a batch must reach. A smaller batch answers a lone client sooner, since each is padded."""

RUNS = 3
"""Timed runs of a batch, of which the fastest counts: what interrupts the others says nothing of the device."""

RunTiles = Callable[[Tiling, Sequence[ImageTile], bool], None]
"""Runs a batch of the network's tiles, cut and batched as the tiling says, exclusively or on one lane, to its end.
Raises OutOfDeviceMemory where it does not fit into the memory."""

SampleType = type[np.uint8 | np.uint16]


class Calibration(BaseModel):
    """What was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batches: tuple[tuple[int, float], ...]
    """The pixels of the planes of a batch and its seconds on one lane; of several batches."""
    exclusive_seconds: float
    """Of the last of them on all lanes."""
    batch_sizes: tuple[tuple[Shape, int], ...] = ()
    """How many planes of a shape a batch has; none where batches are not padded."""

    def cost_model(self) -> CostModel:
        """A new one that predicts these times."""
        return CostModel.fit(self.batches, speed_up=self.batches[-1][1] / self.exclusive_seconds)

    @property
    def fixed_batches(self) -> Mapping[Shape, int]:
        """By the shape of the plane."""
        return dict(self.batch_sizes)


def calibrate(run: RunTiles, tiling: Tiling, sample: SampleType, clock: Callable[[], float] = monotonic) -> Calibration:
    """Measure batches of several sizes on one lane, and the largest one with all lanes.

    Where tiles have fixed sides, each of these is timed, so that none is prepared while a client waits for it.
    """
    timer = _Timer(run, tiling, clock)
    if tiling.sides:
        return _calibrate_squares(timer, sample)
    sides = [int((area * tiling.max_tile_pixels) ** 0.5) for area in CALIBRATION_AREAS]
    images = [TiledImage(_noise(side, sample), tiling) for side in sides]
    batches = tuple((image.tiles[0].pixels, timer.seconds(image, 1)) for image in images)
    return Calibration(batches=batches, exclusive_seconds=timer.seconds(images[-1], 1, exclusive=True))


def warm_up(run: RunTiles, tiling: Tiling, sample: SampleType) -> None:
    """Run one batch of each fixed size, so that none is prepared while a client waits for it."""
    for side in tiling.sides:
        image = TiledImage(_noise(side, sample), tiling)
        run(tiling, [ImageTile(image, image.tiles[0])], False)


def choose_batch(seconds: Callable[[int], float], limit: int) -> tuple[int, float]:
    """The smallest batch whose throughput is near the best, and its time; `seconds` measures a batch of a size.

    Sizes are powers of two up to `limit`, and `limit` itself; no larger ones than fit into the memory. Raises
    OutOfDeviceMemory where not even one plane does.

    The largest is first: graphs of smaller ones find room in what it has taken of the memory, and a lack of memory, for
    which all graphs are dropped, comes before what is kept.
    """
    measured = dict[int, float]()
    for size in sorted({limit, *(2**power for power in range(limit.bit_length()))}, reverse=True):
        try:
            measured[size] = seconds(size)
        except OutOfDeviceMemory:
            if size == 1:
                raise
    best = max(size / time for size, time in measured.items())
    chosen = min(size for size, time in measured.items() if size / time >= THROUGHPUT * best)
    return chosen, measured[chosen]


class _Timer:
    """Times batches of a network."""

    def __init__(self, run: RunTiles, tiling: Tiling, clock: Callable[[], float]) -> None:
        self.tiling = tiling
        self._run = run
        self._clock = clock

    def seconds(self, image: TiledImage, size: int, *, exclusive: bool = False) -> float:
        """Of a batch of `size` times the image's first tile, after one batch as warm-up."""
        tiles = [ImageTile(image, image.tiles[0])] * size
        tiling = self.tiling.with_batches({image.tiles[0].shape: size})
        self._run(tiling, tiles, exclusive)
        return min(self._once(tiling, tiles, exclusive) for _ in range(RUNS))

    def _once(self, tiling: Tiling, tiles: Sequence[ImageTile], exclusive: bool) -> float:
        began = self._clock()
        self._run(tiling, tiles, exclusive)
        return self._clock() - began


def _calibrate_squares(timer: _Timer, sample: SampleType) -> Calibration:
    sizes, batches = list[tuple[Shape, int]](), list[tuple[int, float]]()
    for side in timer.tiling.sides:
        image = TiledImage(_noise(side, sample), timer.tiling)
        tile = image.tiles[0]
        size, seconds = choose_batch(partial(timer.seconds, image), timer.tiling.batch_limit(tile))
        sizes.append((tile.shape, size))
        batches.append((tile.pixels * size, seconds))
    exclusive = timer.seconds(image, size, exclusive=True)
    return Calibration(batches=tuple(batches), exclusive_seconds=exclusive, batch_sizes=tuple(sizes))


def _noise(side: int, sample: SampleType) -> Pixels:
    """A square image of noise."""
    shape = (max(side, 1), max(side, 1), 3)
    return np.random.default_rng(0).integers(0, np.iinfo(sample).max, shape, sample, endpoint=True)
