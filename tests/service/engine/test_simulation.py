"""Random clients of the whole engine, in virtual time: whatever they do, the books are right, and closed at the end.

Only networks, devices and memory are stood in for. The same seed does the same.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest

from service.engine.admission import Admission, QueueLimits
from service.engine.deadline import Deadline
from service.engine.inference_spec import InferenceSpec
from service.engine.patience import CLIENT_LEFT, Patience
from service.engine.priority import Priority
from service.engine.residency import Place, Residency, ResidencyLimits
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile
from service.errors import DeadlineExceeded, Draining, Overloaded
from service.imaging.pixels import Pixels
from service.pipeline.gathering import gather
from service.telemetry.metrics import Metrics
from tests.service.engine.virtual_time import VirtualTime
from tests.service.pointwise import Model, model

CLIENTS = 50
GAUGES = ("admitted_requests", "admitted_inferences", "admitted_pixels", "queue_requests", "backlog_seconds")
FORESEEN = (Overloaded, DeadlineExceeded, Draining, TimeoutError, BrokenPipeError, asyncio.CancelledError)
"""How a client may end without an answer; the fourth and the fifth are those of its own time and of the device."""


class Weights:
    """Weights that never move while a batch uses them."""

    def __init__(self, size: int, chance: random.Random) -> None:
        self.bytes, self.place, self.batches = size, Place.DEVICE, 0
        self._chance = chance

    async def move(self, place: Place) -> None:
        assert not self.batches
        await asyncio.sleep(self._chance.choice([0, 0.01, 0.3]))
        assert not self.batches
        if place is Place.HOST and self._chance.random() < 0.1:
            raise OSError("no room")
        self.place = place


class Simulation:
    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.loop = VirtualTime(self.check_books)
        self.faults = chance.choice([0, 0, 0.02, 0.2])
        self.impatience = chance.choice([0, 0.3, 0.8])
        self.pace = chance.choice([0.001, 0.05, 0.3])
        self.lanes = chance.choice([1, 2, 4])
        self.limit = chance.choice([3, 6, 100])
        self.metrics = Metrics()
        self.weights: dict[Model, Weights] = {}
        self.served: list[Model] = []
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self.main())

    async def main(self) -> None:
        chance, clock = self.chance, self.loop.time
        limits = QueueLimits(chance.choice([3, 20, 1000]), chance.choice([20_000, 10**6]), chance.choice([30, 1000]))
        self.residency = Residency(ResidencyLimits(self.limit, chance.choice([0, 3])), self.metrics, clock)
        self.admission: Admission[Model] = Admission(
            limits,
            self.lanes,
            self.metrics,
            patience=Patience(clock=clock),
            load_seconds=lambda subject: self.residency.load_seconds(self.weights[subject]),
            clock=clock,
        )
        self.scheduler = Scheduler(
            self.compute,
            self.admission,
            Concurrency(self.lanes, exclusive_batches=self.lanes > 1 and chance.random() < 0.5),
            self.metrics,
            hold_weights=lambda subject: self.residency.hold(self.weights[subject]),
            keep_weights=lambda subject: self.residency.keep(self.weights[subject]),
            clock=clock,
        )
        for _ in range(chance.choice([1, 2, 4])):
            await self.publish()
        serving = asyncio.create_task(self.scheduler.serve())
        await self.clients()
        await asyncio.sleep(60)
        self.check_rest()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def clients(self) -> None:
        asked = []
        for _ in range(CLIENTS):
            asked.append(asyncio.create_task(self.ask()))
            await asyncio.sleep(self.chance.random() * self.pace)
            if self.chance.random() < 0.1:
                await self.publish(instead=self.chance.random() < 0.7)
        if self.chance.random() < 0.3:
            await self.admission.drain(self.chance.choice([0, 0.1, 3]))
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, FORESEEN):
                raise outcome
            self.outcomes[type(outcome).__name__] += 1

    async def publish(self, *, instead: bool = False) -> None:
        """One model more, or in place of another one."""
        tile, scale = self.chance.choice([4, 16, 400]), self.chance.choice([1, 2])
        fixed, per_pixel = self.chance.choice([1e-5, 0.01]), self.chance.choice([1e-8, 1e-4])
        new = model(scale=scale, tile=tile, fixed=fixed, per_pixel=per_pixel, batch=64)
        self.weights[new] = Weights(self.chance.choice([1, 2, 3]), self.chance)
        await self.residency.add(self.weights[new])
        if instead:
            self.residency.forget(self.weights[self.served.pop(0)])
        self.served.append(new)

    async def ask(self) -> None:
        """A client that may leave; its own pixels come back, or it is told why not."""
        chance, subject, task = self.chance, self.chance.choice(self.served), asyncio.current_task()
        assert task is not None
        height, width, frames = chance.randrange(1, 40), chance.randrange(1, 40), chance.choice([1, 1, 1, 3, 12])
        pictures = [np.full((height, width, 3), chance.randrange(255), np.uint8) for _ in range(frames)]
        priority = chance.choice([Priority.INTERACTIVE, Priority.INTERACTIVE, Priority.BULK])
        deadline = Deadline(self.loop.now + chance.choice([0.5, 5, 60]), priority, is_default=chance.random() < 0.5)
        if chance.random() < self.impatience:
            self.loop.call_later(chance.choice([0, 0.01, 0.1, 1]), task.cancel, CLIENT_LEFT)
        with self.admission.admit([InferenceSpec(subject, height, width)], deadline, frames) as requests:
            await asyncio.sleep(chance.choice([0, 0.01, 0.1]))
            async with asyncio.timeout_at(deadline.end):
                pairs = zip(requests, pictures, strict=True)
                results = await gather(self.scheduler.submit(request, picture) for request, picture in pairs)
            await asyncio.sleep(chance.choice([0, 0.01, 0.1]))
        for picture, result in zip(pictures, results, strict=True):
            assert np.array_equal(result, _output(subject, picture))

    async def compute(self, subject: Model, tiles: Sequence[ImageTile], _exclusive: bool) -> None:
        weights = self.weights[subject]
        assert weights.place is Place.DEVICE
        weights.batches += 1
        try:
            planes = [tile.cut() for tile in tiles]
            seconds = subject.cost_model.seconds(sum(plane.size for plane in planes) / 3)
            await asyncio.sleep(seconds * self.chance.choice([0.5, 1, 3]))
            if self.chance.random() < self.faults:
                raise BrokenPipeError("the device had a fault")
            for tile, plane in zip(tiles, planes, strict=True):
                tile.paste(_output(subject, plane))
        finally:
            weights.batches -= 1

    def check_books(self) -> None:
        """What is counted is what there is; and nobody waits for a device that has nothing to do."""
        backlog = self.admission.backlog
        assert backlog.output_pixels == sum(request.spec.output_pixels for request in backlog.inferences)
        assert backlog.client_requests == len({request.group for request in backlog.inferences})
        assert 0 <= backlog.seconds() < float("inf")
        waits = self.metrics.registry.get_sample_value("pastiche_queue_requests")
        running = sum(each.batches for each in self.weights.values())
        assert running <= self.lanes
        assert running or not waits

    def check_rest(self) -> None:
        assert [self.metrics.registry.get_sample_value(f"pastiche_{name}") for name in GAUGES] == [0] * len(GAUGES)
        served = [self.weights[subject] for subject in self.served]
        on_device = [weights.bytes for weights in served if weights.place is Place.DEVICE]
        assert self.residency.held(Place.DEVICE) == sum(on_device)
        assert self.residency.held(Place.HOST) == sum(each.bytes for each in served if each.place is Place.HOST)
        assert sum(on_device) <= self.limit or len(on_device) == 1


def _output(subject: Model, plane: Pixels) -> Pixels:
    return (plane + 1).repeat(subject.scale, 0).repeat(subject.scale, 1)


@pytest.mark.parametrize("seed", range(16))
def test_books_are_right_whatever_clients_do(seed: int) -> None:
    simulation = Simulation(seed)
    simulation.run()
    assert simulation.outcomes.total() == CLIENTS
