"""One image on its way through one network: what it costs, how urgent it is, when it was where, and its way back."""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Generic, NamedTuple, Protocol, TypeVar

from service.cost import Cost
from service.photographs import Pixels
from service.tiling import Canvas, Piece, Tile, Tiling

STRETCH = 10.0
"""An answer is good if it comes within so many times the work that it needs: small images are due before large ones."""

LONGEST_PAUSE = 5.0
"""Seconds after which the next tile of a job is due, however many small ones arrive."""

BULK_PATIENCE = 60.0
"""Seconds by which bulk work is due later than interactive work of its size."""


class Priority(StrEnum):
    """Whether somebody waits for the answer."""

    INTERACTIVE = "interactive"
    BULK = "bulk"

    @property
    def patience(self) -> float:
        """Seconds by which such work may be put off."""
        return BULK_PATIENCE if self is Priority.BULK else 0.0


class Network(Protocol):
    """What must be known of a model; tiles share a batch only where it is the same object."""

    @property
    def name(self) -> str:
        """The metric label."""

    @property
    def scale(self) -> int:
        """Output side over input side."""

    @property
    def tiling(self) -> Tiling:
        """How its images are cut."""

    @property
    def cost(self) -> Cost:
        """How long its passes take."""


Model = TypeVar("Model", bound=Network)


class OnDevice(NamedTuple):
    """A tile that runs: when its pass will be done, as predicted, and how many tiles share that."""

    end: float
    sharers: int


@dataclass(eq=False)
class Job(Generic[Model]):
    """An admitted image. Times are those of `time.monotonic`; seconds of work are those of one lane."""

    model: Model
    height: int
    width: int
    deadline: float
    priority: Priority = Priority.INTERACTIVE
    lanes: int = 1
    """How many passes can run side by side."""
    silent: bool = False
    """Whether its client has not said how long it waits."""
    output_pixels: int = 0
    """Of its answer; by default of what the network makes of it."""
    admitted: float = field(default_factory=monotonic)
    result: asyncio.Future[Pixels] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    canvas: Canvas | None = None
    running: dict[Tile, OnDevice] = field(default_factory=dict)
    """Its tiles on the device."""
    device_seconds: float = 0.0
    """Time of the whole device that was spent on it."""
    abandoned: bool = False
    """Whether nobody waits for it any more."""
    queued: float = 0.0
    promised: float = 0.0
    """When it would be finished, as predicted when it was queued."""
    touched: float = 0.0
    """When its latest tile began, or when it was queued."""
    started: float = 0.0
    finished: float = 0.0

    def __post_init__(self) -> None:
        self._put(self.model.tiling.plan(self.height, self.width))
        self.work = self.waiting_seconds
        """What all of it takes, as predicted when it was admitted."""
        self.output_pixels = self.output_pixels or self.height * self.width * self.model.scale**2

    @property
    def waiting_seconds(self) -> float:
        """Work of the tiles that have not begun, in passes that are full."""
        return self.model.cost.seconds(self._waiting_pixels, len(self.tiles) / self._full)

    def least_seconds(self, *, alone: bool = False) -> float:
        """Until its last tile could be done, were all lanes its own from now on; `alone`: one pass on all of them."""
        if not self.tiles:
            return 0.0
        passes = math.ceil(len(self.tiles) / self._full)
        pixels = self._waiting_pixels / len(self.tiles) * passes * self._full
        return self.model.cost.seconds(pixels, passes, alone=alone) / min(passes, self.lanes)

    def remaining(self, now: float) -> float:
        """Work that is left of it, that of its tiles on the device included."""
        return self.waiting_seconds + sum(max(0.0, end - now) / sharers for end, sharers in self.running.values())

    def due(self) -> float:
        """By when its next tile should run; the least is the most urgent.

        In proportion to its work after its arrival, yet soon enough for its deadline, and not long after its latest
        tile.
        """
        patience = self.priority.patience
        good = self.admitted + STRETCH * self.work + patience
        fair = (self.touched or self.admitted) + LONGEST_PAUSE + patience
        return min(good, fair, self.deadline - self.least_seconds())

    def queue(self, image: Pixels, promised: float) -> None:
        """Give it its image, uint8 (H, W, 3), upright, so that its tiles can be cut."""
        self.canvas = Canvas(image, self.model.tiling)
        self._put(self.canvas.tiles)
        self.queued = self.touched = monotonic()
        self.promised = promised

    def begin(self) -> Piece:
        """Take its next tile to the device, for a pass of which `expect` tells more."""
        assert self.canvas is not None
        tile = self.tiles.popleft()
        self._waiting_pixels -= tile.pixels
        self.touched = now = monotonic()
        self.started = self.started or now
        self.running[tile] = OnDevice(now, 1)
        return Piece(self.canvas, tile)

    def expect(self, tile: Tile, seconds: float, sharers: int) -> None:
        """A tile that has begun will be on the device for about so many seconds, which it shares with others."""
        self.running[tile] = OnDevice(monotonic() + seconds, sharers)

    def end(self, tile: Tile, seconds: float) -> None:
        """A tile has been on the device, for so many seconds of the whole of it; the last one finishes the job."""
        del self.running[tile]
        self.device_seconds += seconds
        if not self.tiles and not self.running and not self.result.done():
            assert self.canvas is not None
            self.finished = monotonic()
            self.result.set_result(self.canvas.result)
            self.canvas = None  # a request of many images holds its jobs until the last one is done

    def fail(self, error: Exception) -> None:
        """Answer with a failure, unless it has been answered; no further tile runs."""
        self.drop()
        if not self.result.done():
            self.finished = monotonic()
            self.result.set_exception(error)

    def drop(self) -> None:
        """No further tile runs."""
        self._put([])

    def _put(self, tiles: Sequence[Tile]) -> None:
        """All that wait. The sums of what they cost are kept, for they are asked for at every decision."""
        self.tiles = deque(tiles)
        """Those that have not begun, the first ones first."""
        self._waiting_pixels = sum(tile.pixels for tile in tiles)
        if tiles:
            self.count = len(tiles)
            self._full = self.model.tiling.full(tiles[0])

    def waited(self) -> float:
        """Seconds that it has waited, or did wait, for the device."""
        return (self.started or self.finished or monotonic()) - self.queued if self.queued else 0.0


def durations(jobs: Sequence[Job[Model]]) -> dict[str, float]:
    """Seconds of the stages that a request has reached: queue, and infer from its first tile to its last."""
    first = jobs[0]
    if not first.started:
        return {"queue": first.waited()}
    end = max(job.finished or (monotonic() if job.started else 0.0) for job in jobs)
    return {"queue": first.waited(), "infer": end - first.started}
