"""One image on its way through one network: what it costs, how urgent it is, when it was where, and its way back."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Generic, Protocol, TypeVar

from service.codec import Pixels
from service.cost import Cost
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


@dataclass(eq=False)
class Job(Generic[Model]):
    """An admitted image. Times are those of `time.monotonic`; seconds of work are those of one lane."""

    model: Model
    height: int
    width: int
    deadline: float
    priority: Priority = Priority.INTERACTIVE
    lanes: int = 1
    """How many of its tiles can run side by side."""
    admitted: float = field(default_factory=monotonic)
    result: asyncio.Future[Pixels] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    canvas: Canvas | None = None
    running: dict[Tile, float] = field(default_factory=dict)
    """When each of its tiles on the device will be done, as predicted."""
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
        plan = self.model.tiling.plan(self.height, self.width)
        self.count = len(plan)
        self.tiles = deque(plan)
        """Those that have not begun, the first ones first."""
        self.work = self.waiting_seconds
        """What all of it takes, as predicted when it was admitted."""

    @property
    def output_pixels(self) -> int:
        """Of its answer."""
        return self.height * self.width * self.model.scale**2

    @property
    def waiting_seconds(self) -> float:
        """Work of the tiles that have not begun."""
        return sum(self.model.cost.seconds(tile.pixels) for tile in self.tiles)

    @property
    def least_seconds(self) -> float:
        """Until its last tile could be done, were all lanes its own from now on."""
        return self.waiting_seconds / max(1, min(len(self.tiles), self.lanes))

    def remaining(self, now: float) -> float:
        """Work that is left of it, that of its tiles on the device included."""
        return self.waiting_seconds + sum(max(0.0, end - now) for end in self.running.values())

    def due(self) -> float:
        """By when its next tile should run; the least is the most urgent.

        In proportion to its work after its arrival, yet soon enough for its deadline, and not long after its latest
        tile.
        """
        patience = self.priority.patience
        good = self.admitted + STRETCH * self.work + patience
        fair = (self.touched or self.admitted) + LONGEST_PAUSE + patience
        return min(good, fair, self.deadline - self.least_seconds)

    def queue(self, image: Pixels, promised: float) -> None:
        """Give it its image, uint8 (H, W, 3), upright, so that its tiles can be cut."""
        self.canvas = Canvas(image, self.model.tiling)
        self.tiles = deque(self.canvas.tiles)
        self.count = len(self.tiles)
        self.queued = self.touched = monotonic()
        self.promised = promised

    def begin(self, seconds: float) -> Piece:
        """Take its next tile to the device, where it will be for about so many seconds."""
        assert self.canvas is not None
        tile = self.tiles.popleft()
        self.touched = now = monotonic()
        self.started = self.started or now
        self.running[tile] = now + seconds
        return Piece(self.canvas, tile)

    def end(self, tile: Tile, seconds: float) -> None:
        """A tile has been on the device, for so many seconds of the whole of it; the last one finishes the job."""
        del self.running[tile]
        self.device_seconds += seconds
        if not self.tiles and not self.running and not self.result.done():
            assert self.canvas is not None
            self.finished = monotonic()
            self.result.set_result(self.canvas.result)

    def fail(self, error: Exception) -> None:
        """Answer with a failure, unless it has been answered; no further tile runs."""
        self.tiles.clear()
        if not self.result.done():
            self.finished = monotonic()
            self.result.set_exception(error)

    def waited(self) -> float:
        """Seconds that it has waited, or did wait, for the device."""
        return (self.started or self.finished or monotonic()) - self.queued if self.queued else 0.0

    def durations(self) -> dict[str, float]:
        """Seconds of the stages that it has reached: queue, and infer from its first tile to its last."""
        stages = {"queue": self.waited()}
        return stages | {"infer": (self.finished or monotonic()) - self.started} if self.started else stages
