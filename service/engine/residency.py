"""Which weights are on the device where more networks are served than fit: the least recently used ones leave it.

They go to page-locked memory of the host, where there is room, and from there to the disk. A request for weights that
are elsewhere waits for them to come back, and nobody else does.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import islice
from time import monotonic
from typing import Protocol
from weakref import WeakSet

from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

SMOOTHING = 0.7
"""Weight of the known time of loads against that of a new one."""


class Place(StrEnum):
    """Where weights are."""

    DEVICE = "device"
    HOST = "host"
    """In memory of the host from which a GPU copies fast."""
    DISK = "disk"
    """In the model store alone."""


class Weights(Protocol, Hashable):
    """The weights of a model that is served."""

    @property
    def place(self) -> Place:
        """Where they are; `move` changes it."""

    @property
    def bytes(self) -> int:
        """Of all of them, the same wherever they are."""

    async def move(self, place: Place) -> None:
        """Put them there. They are used by nobody meanwhile. Raises whatever made it fail, and then nothing moved."""


@dataclass(frozen=True)
class ResidencyLimits:
    """The most bytes of weights."""

    device: float
    host: float = 0


@dataclass(eq=False)
class _Resident:
    """Weights, and how many need them on the device."""

    weights: Weights
    holders: int = 0
    moving: bool = False
    loading: asyncio.Task[None] | None = None

    @property
    def place(self) -> Place:
        return self.weights.place

    @property
    def is_idle(self) -> bool:
        return not self.holders and not self.moving


@dataclass
class _LoadTimes:
    """Seconds that loads take, smoothed, by where the weights came from."""

    seconds: dict[Place, float] = field(default_factory=dict)

    def observe(self, place: Place, seconds: float) -> None:
        known = self.seconds.get(place, seconds)
        self.seconds[place] = SMOOTHING * known + (1 - SMOOTHING) * seconds


class Residency:
    """Keeps the weights of served models within limits."""

    def __init__(self, limits: ResidencyLimits, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self._limits = {Place.DEVICE: limits.device, Place.HOST: limits.host}
        self._metrics = metrics
        self._clock = clock
        self._residents: OrderedDict[Weights, _Resident] = OrderedDict()
        """The least recently used first."""
        self._forgotten: WeakSet[Weights] = WeakSet()
        """Served no more; a request that began before that may still come for them."""
        self._held = {Place.DEVICE: 0, Place.HOST: 0}
        self._load_times = _LoadTimes()
        self._loads: dict[_Resident, None] = {}
        """What is being loaded or waits for that."""
        self._making_room = asyncio.Lock()
        """Room is made for one after another, so that large weights do not wait for ever behind small ones."""
        self._room_tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        for place in (Place.HOST, Place.DISK):
            metrics.weight_loads.labels(place)
            metrics.weight_evictions.labels(place)
        for place in self._held:
            metrics.resident_bytes.labels(place).set_function(partial(self.held, place))

    def held(self, place: Place) -> int:
        """Bytes of weights that are there, or on the way there."""
        return self._held[place]

    def load_seconds(self, weights: Weights) -> float:
        """How long a request for them is expected to wait until they are on the device: loads run one by one."""
        if weights not in self._residents or weights.place is Place.DEVICE:
            return 0.0
        ahead = (resident.place for resident in self._loads if resident.weights is not weights)
        return sum(self._load_times.seconds.get(place, 0.0) for place in (weights.place, *ahead))

    async def add(self, weights: Weights) -> None:
        """Count weights, which were put on the device just now as a rule; others make room for them.

        Raises whatever made that fail, and then they are not counted.
        """
        try:
            self._counted(weights)
            await asyncio.shield(self._room_task(self._make_room_for(weights)))
        except BaseException:
            self.forget(weights)
            raise

    def forget(self, weights: Weights) -> None:
        """They are served no more: as long as nobody needs them, they are not counted."""
        self._forgotten.add(weights)
        resident = self._residents.get(weights)
        if resident is not None:
            self._settle(resident)

    @asynccontextmanager
    async def hold(self, weights: Weights) -> AsyncIterator[None]:
        """For the length of the block the weights are on the device; waits until they are.

        Those that are not counted are from then on, and others leave for them meanwhile.
        Raises whatever made a load fail. A caller that is cancelled leaves the load to others.
        """
        is_new = weights not in self._residents
        with self._used(weights) as resident:
            if is_new:
                self._room_task(self._make_room())
            while resident.place is not Place.DEVICE or resident.moving:
                await asyncio.shield(self._load_task(resident))
            yield

    @contextmanager
    def keep(self, weights: Weights) -> Iterator[None]:
        """For the length of the block weights that are on the device stay there, also when nobody holds them any more.

        To be called while they are held: what moves goes on to do so.
        """
        with self._used(weights):
            yield

    @contextmanager
    def _used(self, weights: Weights) -> Iterator[_Resident]:
        """They are counted, and leave for nobody else, for the length of the block."""
        resident = self._counted(weights)
        resident.holders += 1
        try:
            yield resident
        finally:
            self._release(resident)

    def _counted(self, weights: Weights) -> _Resident:
        """Now the most recently used ones."""
        if weights not in self._residents:
            self._residents[weights] = _Resident(weights)
            self._count(weights.place, weights.bytes)
        self._residents.move_to_end(weights)
        return self._residents[weights]

    def _release(self, resident: _Resident) -> None:
        resident.holders -= 1
        self._settle(resident)
        if self._surplus() is not None and all(task.done() for task in self._room_tasks):
            self._room_task(self._evict_surplus())

    def _settle(self, resident: _Resident) -> None:
        """Something has ended: whoever waits for room looks again, and what was forgotten goes."""
        loading = resident.loading is not None and not resident.loading.done()
        leaves = resident.weights in self._forgotten and resident.is_idle and not loading
        if leaves and self._residents.get(resident.weights) is resident:
            del self._residents[resident.weights]
            self._count(resident.place, -resident.weights.bytes)
        self._released.set()

    def _load_task(self, resident: _Resident) -> asyncio.Task[None]:
        """One for all who wait for the same weights."""
        if resident.loading is None or resident.loading.done():
            resident.loading = asyncio.create_task(self._load(resident))
            self._loads[resident] = None
            resident.loading.add_done_callback(lambda task: self._on_loaded(resident, task))
        return resident.loading

    def _on_loaded(self, resident: _Resident, task: asyncio.Task[None]) -> None:
        self._loads.pop(resident, None)
        if not task.cancelled():
            task.exception()  # asyncio complains about exceptions that nobody retrieves
        self._settle(resident)

    async def _load(self, resident: _Resident) -> None:
        async with self._making_room:
            if resident.place is Place.DEVICE:
                return
            with self._moving(resident):
                await self._evict_for(resident.weights.bytes)
                began, source = self._clock(), resident.place
                await self._move(resident, Place.DEVICE)
        self._metrics.weight_loads.labels(source).inc()
        self._load_times.observe(source, self._clock() - began)

    def _room_task(self, making: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """It goes on where its caller leaves, as a thread may be moving weights.

        Who holds weights does not wait for it: a load may wait for them, and keep others from making room.
        """
        task = asyncio.create_task(making)
        self._room_tasks.add(task)
        task.add_done_callback(self._on_room_made)
        return task

    def _on_room_made(self, task: asyncio.Task[None]) -> None:
        self._room_tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.warning("weights could not leave the device", exc_info=error)

    async def _make_room(self) -> None:
        """Evict what is beyond the limit."""
        async with self._making_room:
            await self._evict_for(0)

    async def _make_room_for(self, weights: Weights) -> None:
        """The same, but not by their leaving."""
        async with self._making_room:
            if weights in self._residents:
                with self._used(weights):
                    await self._evict_for(0)

    async def _evict_surplus(self) -> None:
        """What came while others were in use has exceeded the limit until now."""
        async with self._making_room:
            while (victim := self._surplus()) is not None:
                await self._evict(victim)

    def _surplus(self) -> _Resident | None:
        """The next to leave where weights exceed the limit together; what does so alone stays."""
        exceeds = self._held[Place.DEVICE] > self._limits[Place.DEVICE]
        several = exceeds and len(list(islice(self._on(Place.DEVICE), 2))) > 1
        return self._least_recently_used(Place.DEVICE) if several else None

    async def _evict_for(self, size: int) -> None:
        """Make room for `size` bytes on the device. What is larger than the limit goes there alone."""
        while self._held[Place.DEVICE] + size > self._limits[Place.DEVICE]:
            victim = self._least_recently_used(Place.DEVICE)
            if victim is not None:
                await self._evict(victim)
            elif any(resident.holders for resident in self._on(Place.DEVICE)) and size:
                await self._until_released()
            else:
                return

    async def _evict(self, victim: _Resident) -> None:
        with self._moving(victim):
            target = await self._place_for_evicted(victim.weights.bytes)
            reached = await self._move_away(victim, target)
        self._metrics.weight_evictions.labels(reached).inc()

    async def _move_away(self, victim: _Resident, target: Place) -> Place:
        """Where it went: to the disk, where the host has no memory for it."""
        if target is Place.HOST:
            try:
                await self._move(victim, Place.HOST)
                return Place.HOST
            except Exception:
                logger.warning("weights could not move to the host, and go to the disk", exc_info=True)
        await self._move(victim, Place.DISK)
        return Place.DISK

    async def _place_for_evicted(self, size: int) -> Place:
        """The host, where others make room for so many bytes, or else the disk."""
        if size > self._limits[Place.HOST]:
            return Place.DISK
        while self._held[Place.HOST] + size > self._limits[Place.HOST]:
            oldest = self._least_recently_used(Place.HOST)
            if oldest is None:
                return Place.DISK
            with self._moving(oldest):
                await self._move(oldest, Place.DISK)
        return Place.HOST

    @contextmanager
    def _moving(self, resident: _Resident) -> Iterator[None]:
        """Nobody begins to use it, or moves it elsewhere, for the length of the block."""
        resident.moving = True
        try:
            yield
        finally:
            resident.moving = False
            self._settle(resident)

    async def _move(self, resident: _Resident, place: Place) -> None:
        size, source = resident.weights.bytes, resident.place
        self._count(place, size)
        try:
            await resident.weights.move(place)
        except BaseException:
            self._count(place, -size)
            raise
        self._count(source, -size)

    def _count(self, place: Place, size: int) -> None:
        if place in self._held:
            self._held[place] += size

    def _on(self, place: Place) -> Iterator[_Resident]:
        return (resident for resident in self._residents.values() if resident.place is place)

    def _least_recently_used(self, place: Place) -> _Resident | None:
        return next((resident for resident in self._on(place) if resident.is_idle), None)

    async def _until_released(self) -> None:
        self._released.clear()
        await self._released.wait()
