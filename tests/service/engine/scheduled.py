"""A scheduler in front of a device whose batches end when they are told to."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np

from service.engine.admission import Admission, QueueLimits
from service.engine.deadline import Deadline
from service.engine.inference_spec import InferenceSpec
from service.engine.priority import SchedulingPolicy
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile
from service.errors import DeviceLost
from service.imaging.codecs import Pixels
from service.telemetry.metrics import Metrics
from tests.service.pointwise import Model

LATER = 1e9
SECOND_PER_TILE: dict[str, Any] = {"tile": 1, "fixed": 1.0}


def image(value: int, height: int = 1, width: int = 1) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


@dataclass(eq=False)
class Started:
    """A batch on the device; it ends when it is told to."""

    model: Model
    values: list[int]
    exclusive: bool
    go_on: asyncio.Event


class Device:
    """Runs batches, remembers them, ends them when it is told to, and adds one to every pixel."""

    def __init__(self) -> None:
        self.batches_run: list[Started] = []
        self.running: list[Started] = []
        self.idle = False
        self.poison: set[int] = set()
        self.fault: BaseException | None = None
        """What a batch with poison raises; None: a ValueError."""

    async def run(self, subject: Model, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        planes = [image_tile.cut() for image_tile in tiles]
        this = Started(subject, [int(plane[0, 0, 0]) for plane in planes], exclusive, asyncio.Event())
        self.batches_run.append(this)
        self.running.append(this)
        if not self.idle:
            await this.go_on.wait()
        self.running.remove(this)
        if self.poison & set(this.values):
            raise self.fault or ValueError(f"poison in {this.values}")
        for image_tile, plane in zip(tiles, planes, strict=True):
            image_tile.paste((plane + 1).repeat(subject.scale, 0).repeat(subject.scale, 1))

    @property
    def batches(self) -> list[list[int]]:
        return [one.values for one in self.batches_run]

    def free(self) -> None:
        """Whatever comes runs at once from now on."""
        self.idle = True
        for one in self.running:
            one.go_on.set()

    async def finish(self, *values: int) -> None:
        """Let the first running batch with these values end, and what follows begin."""
        next(one for one in self.running if one.values == list(values)).go_on.set()
        await settle()


class Service:
    """A scheduler in front of a device whose batches end when they are told to."""

    def __init__(self, concurrency: Concurrency, policy: SchedulingPolicy | None = None, **options: Any) -> None:
        self.device = Device()
        self.metrics = Metrics()
        limits = QueueLimits(requests=1000, pixels=10**9, inferences=10**6)
        clock = options.get("clock", monotonic)
        self.admission: Admission[Model] = Admission(
            limits, concurrency.lanes, self.metrics, policy=policy, clock=clock
        )
        self.scheduler = Scheduler(self.device.run, self.admission, concurrency, self.metrics, **options)

    async def paint(self, subject: Model, picture: Pixels, deadline: float = LATER, **options: Any) -> Pixels:
        height, width, _ = picture.shape
        with self.admission.admit([InferenceSpec(subject, height, width)], Deadline(deadline, **options)) as (job,):
            return await self.scheduler.submit(job, picture)

    async def ask(self, subject: Model, picture: Pixels, deadline: float = LATER, **options: Any) -> int:
        """The one value of the answer."""
        (value,) = np.unique(await self.paint(subject, picture, deadline, **options))
        return int(value)

    async def post(
        self, subject: Model, *values: int, height: int = 1, width: int = 1, **options: Any
    ) -> list[asyncio.Task[int]]:
        """Requests for pictures of one value each, which have got as far as they can."""
        pictures = [image(value, height, width) for value in values]
        tasks = [asyncio.create_task(self.ask(subject, picture, **options)) for picture in pictures]
        await settle()
        return tasks

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"pastiche_{name}", labels) or 0.0


async def settle() -> None:
    """Let everything that can go on, go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = monotonic()

    def __call__(self) -> float:
        return self.now


def serving(
    scenario: Callable[[Service], Awaitable[None]],
    lanes: int = 1,
    exclusive_batches: bool = True,
    policy: SchedulingPolicy | None = None,
    **options: Any,
) -> None:
    """Run a scenario beside a running scheduler, which gets the `options`."""

    async def run() -> None:
        service = Service(Concurrency(lanes, exclusive_batches), policy, **options)
        loop = asyncio.create_task(service.scheduler.serve())
        try:
            async with asyncio.timeout(30):
                await scenario(service)
        finally:
            loop.cancel()
            with suppress(asyncio.CancelledError, DeviceLost):
                await loop

    asyncio.run(run())
