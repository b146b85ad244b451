"""An inference request: one image through one network, with its tiles, its deadline and its result.

What a client asks for becomes one inference request for each network and frame. Times are those of `time.monotonic`;
seconds of work are seconds of one lane.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, NamedTuple

from service.engine.deadline import Deadline
from service.engine.inference_spec import InferenceSpec, Model
from service.engine.priority import SchedulingPolicy
from service.engine.tiling import ImageTile, Tile, TiledImage
from service.imaging.pixels import Pixels


@dataclass(frozen=True)
class RequestGroup:
    """The inference requests of one answer: one for each network and frame."""

    work_seconds: float
    """The work of all of them, as predicted when they were admitted."""


class RunningTile(NamedTuple):
    """A tile on the device: when its batch should end, and how many tiles share that batch."""

    end: float
    sharers: int


@dataclass
class Timeline:
    """When an inference request was where; 0 for what has not happened."""

    admitted: float
    queued: float = 0.0
    last_tile: float = 0.0
    """When its latest tile was started, or when it was queued."""
    started: float = 0.0
    """When its first tile was started."""
    finished: float = 0.0

    def queue_seconds(self, now: float) -> float:
        """How long it has waited, or did wait, for its first tile."""
        return (self.started or self.finished or now) - self.queued if self.queued else 0.0


class InferenceRequest(Generic[Model]):
    """One admitted image on its way through one network. `result` is the future that its client waits for."""

    def __init__(
        self,
        spec: InferenceSpec[Model],
        deadline: Deadline,
        lanes: int = 1,
        *,
        group: RequestGroup | None = None,
        is_later_frame: bool = False,
        policy: SchedulingPolicy | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`lanes`: batches that run side by side.

        `group`: the one that it belongs to, where it is not alone; `is_later_frame`: of an animation, not the first.
        """
        self.spec = spec
        self.model = spec.model
        self.deadline = deadline
        self.lanes = lanes
        self.result: asyncio.Future[Pixels] = asyncio.get_running_loop().create_future()
        self.times = Timeline(clock())
        self.predicted_finish = 0.0
        """When it would be finished, as predicted when it was queued."""
        self.running: dict[Tile, RunningTile] = {}
        self.device_seconds = 0.0
        """Seconds of the whole device that were spent on it."""
        self.abandoned = False
        """Whether nobody waits for it any more."""
        self._policy = policy or SchedulingPolicy()
        self._delay = self._policy.delay(deadline.priority)
        self._cost_model = spec.model.cost_model
        self._clock = clock
        self._image: TiledImage | None = None
        self.waiting_tiles = deque(spec.tiles)
        self._waiting_pixels = spec.plane_pixels
        self.work_seconds = self.waiting_seconds
        """The work of all its tiles, as predicted when it was admitted."""
        self.group = group or RequestGroup(self.work_seconds)
        self._is_later_frame = is_later_frame

    def for_later_frame(self) -> "InferenceRequest[Model]":
        """One for the same network and a later frame of the same animation."""
        return InferenceRequest(
            self.spec,
            self.deadline,
            self.lanes,
            group=self.group,
            is_later_frame=True,
            policy=self._policy,
            clock=self._clock,
        )

    @property
    def tile_count(self) -> int:
        """All its tiles, whether they wait, run or are done."""
        return len(self.spec.tiles)

    @property
    def waiting_seconds(self) -> float:
        """The work of the tiles that have not started, each as its share of a full batch."""
        return self._cost_model.seconds(self._waiting_pixels, len(self.waiting_tiles) / self.spec.fixed_batch)

    @property
    def is_due_with_its_group(self) -> bool:
        """Whether none of its tiles has started, and it is due when its whole group is.

        It is a later frame that is not queued, or its group takes so little work that `longest_pause` does not count.
        """
        small = self._policy.stretch * self.group.work_seconds <= self._policy.longest_pause
        unpaused = small or (self._is_later_frame and not self.times.queued)
        return unpaused and len(self.waiting_tiles) == self.tile_count

    @property
    def tiles_done(self) -> int:
        """Tiles that have been on the device."""
        return self.tile_count - len(self.waiting_tiles) - len(self.running)

    def minimum_seconds(self, *, exclusive: bool = False) -> float:
        """Seconds until its last tile could be done if it had all lanes from now on.

        `exclusive`: where it is a single batch that runs on all lanes at once.
        """
        if not self.waiting_tiles:
            return 0.0
        fixed_batch = self.spec.fixed_batch
        batches = math.ceil(len(self.waiting_tiles) / fixed_batch)
        pixels = self._waiting_pixels / len(self.waiting_tiles) * batches * fixed_batch
        return self._cost_model.seconds(pixels, batches, exclusive=exclusive) / min(batches, self.lanes)

    def remaining_seconds(self, now: float) -> float:
        """The work that is left, that of its tiles on the device included."""
        if not self.running:
            return self.waiting_seconds
        return self.waiting_seconds + sum(max(0.0, end - now) / sharers for end, sharers in self.running.values())

    def due(self) -> float:
        """The latest time at which its next tile should start; the request with the least one is the most urgent.

        In proportion to the work of its whole group after its arrival, but not long after its latest tile, and in time
        for its deadline. Of the frames of an animation, the bound on pauses holds for the first one and for those that
        are queued: it is to go on, not to be done within a pause.
        """
        return self.due_given(self.minimum_seconds())

    def due_given(self, minimum_seconds: float) -> float:
        """`due`, for a caller that knows its `minimum_seconds`."""
        times = self.times
        since = times.last_tile or (math.inf if self._is_later_frame else times.admitted)
        return min(since + self._policy.longest_pause + self._delay, self._group_due(minimum_seconds))

    def group_due(self) -> float:
        """By when the last tiles of its whole group should start: what is due before runs before them."""
        return self._group_due(self.minimum_seconds())

    def _group_due(self, minimum_seconds: float) -> float:
        proportional = self.times.admitted + self._policy.stretch * self.group.work_seconds
        return min(proportional + self._delay, self.deadline.at - minimum_seconds)

    def enqueue(self, image: Pixels, predicted_finish: float) -> None:
        """Attach its image, uint8 or uint16 (H, W, 3), upright, so that its tiles can be cut."""
        self._image = TiledImage(image, self.model.tiling, self.spec.tiles)
        self.waiting_tiles = deque(self.spec.tiles)
        self._waiting_pixels = self.spec.plane_pixels
        self.times.queued = self.times.last_tile = self._clock()
        self.predicted_finish = predicted_finish

    def start_tile(self) -> ImageTile:
        """Take its next tile to the device; `expect_end` then says for how long."""
        assert self._image is not None
        tile = self.waiting_tiles.popleft()
        self._waiting_pixels -= tile.pixels
        self.times.last_tile = now = self._clock()
        self.times.started = self.times.started or now
        self.running[tile] = RunningTile(now, 1)
        return ImageTile(self._image, tile)

    def expect_end(self, tile: Tile, seconds: float, sharers: int) -> None:
        """A running tile is expected to take `seconds`, in a batch of `sharers` tiles."""
        self.running[tile] = RunningTile(self._clock() + seconds, sharers)

    def finish_tile(self, tile: Tile, seconds: float) -> None:
        """A tile is done, after `seconds` of the whole device. The last one sets the result."""
        del self.running[tile]
        self.device_seconds += seconds
        if not self.waiting_tiles and not self.running and not self.result.done():
            assert self._image is not None
            self.times.finished = self._clock()
            self.result.set_result(self._image.result)
            self._image = None  # requests of one animation are held until the last one is done

    def fail_tile(self, tile: Tile, error: Exception) -> None:
        """A tile has failed, and the request with it."""
        del self.running[tile]
        self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Set the exception of the result, unless it is set; no further tile starts."""
        self.drop_tiles()
        if not self.result.done():
            self.times.finished = self._clock()
            self.result.set_exception(error)

    def drop_tiles(self) -> None:
        """No further tile starts."""
        self.waiting_tiles.clear()
        self._waiting_pixels = 0
