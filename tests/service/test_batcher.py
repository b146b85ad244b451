import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import pytest

from service.batcher import Batcher, Job, Pace, QueueLimits
from service.codec import Pixels
from service.errors import DeadlineExceeded, DeviceLost, Draining, Overloaded
from service.metrics import Metrics

LATER = 1e9


@dataclass(frozen=True, eq=False)
class Model:
    name: str = "wave"
    scale: int = 1


def image(value: int, height: int = 1, width: int = 1) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


class Device:
    """Takes batches when it is let, remembers them, and gives every image back with one added to its pixels."""

    def __init__(self, *, idle: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.models: list[Model] = []
        self.poison: set[int] = set()
        self.room = asyncio.Event()
        if idle:
            self.room.set()

    async def run(self, model: Model, images: list[Pixels]) -> list[Pixels]:
        values = [int(one[0, 0, 0]) for one in images]
        self.batches.append(values)
        self.models.append(model)
        await self.room.wait()
        if self.poison & set(values):
            raise ValueError(f"poison in {values}")
        return [one + 1 for one in images]


def batcher(device: Device, requests: int = 100, pixels: int = 1000, batch_pixels: int = 1000) -> Batcher[Model]:
    return Batcher(device.run, QueueLimits(requests, pixels, batch_pixels), Metrics())


async def ask(batcher: Batcher[Model], model: Model, picture: Pixels, deadline: float = LATER) -> int:
    height, width, _ = picture.shape
    with batcher.admit(model, height * width * model.scale**2, deadline) as job:
        return int((await batcher.submit(job, picture))[0, 0, 0])


async def settle() -> None:
    """Let everything that can go on, go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def serving(scenario: Callable[[Device, Batcher[Model]], Awaitable[None]], **limits: Any) -> None:
    """Run a scenario beside a batcher at work, whose device is busy until `room` is set."""

    async def run() -> None:
        device = Device(idle=False)
        subject = batcher(device, **limits)
        loop = asyncio.create_task(subject.serve())
        try:
            async with asyncio.timeout(30):
                await scenario(device, subject)
        finally:
            loop.cancel()
            with suppress(asyncio.CancelledError, DeviceLost):
                await loop

    asyncio.run(run())


def start(subject: Batcher[Model], model: Model, *values: int, **options: Any) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(ask(subject, model, image(value, **options))) for value in values]


def test_lone_image_runs_at_once() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        device.room.set()
        assert await ask(subject, Model(), image(7)) == 8
        assert device.batches == [[7]]

    serving(scenario)


def test_work_that_would_come_too_late_is_refused_at_once() -> None:
    async def scenario(_: Device, subject: Batcher[Model]) -> None:
        subject._pace.measured(pixels=10, seconds=100.0)
        with subject.admit(Model(), 5, monotonic() + 20):  # found the service empty
            with (
                pytest.raises(Overloaded, match="70 seconds of work would be admitted, 19 are accepted; retry in 50 s"),
                subject.admit(Model(), 2, monotonic() + 20),
            ):
                pass
            with subject.admit(Model(), 2, monotonic() + 100):
                assert subject.admitted_pixels() == 7

    serving(scenario)


def test_batches_grow_while_the_device_is_busy() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        model = Model()
        first = start(subject, model, 1)
        await settle()
        rest = start(subject, model, 2, 3, 4)
        await settle()
        assert device.batches == [[1]]
        device.room.set()
        assert await asyncio.gather(*first, *rest) == [2, 3, 4, 5]
        assert device.batches == [[1], [2, 3, 4]]

    serving(scenario)


def test_only_equal_shapes_of_one_model_share_a_batch() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        wave, other = Model(), Model()
        tasks = start(subject, wave, 0)
        await settle()
        tasks += start(subject, wave, 1) + start(subject, other, 2) + start(subject, wave, 3, width=2)
        tasks += start(subject, wave, 4) + start(subject, other, 5) + start(subject, wave, 6, height=2)
        await settle()
        device.room.set()
        assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5, 6, 7]
        assert device.batches == [[0], [1, 4], [2, 5], [3], [6]]
        assert device.models == [wave, wave, other, wave, wave]

    serving(scenario)


def test_batch_keeps_to_the_pixel_budget_except_for_its_first() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        model = Model()
        tasks = start(subject, model, 0)
        await settle()
        tasks += start(subject, model, 1, 2, 3, width=4) + start(subject, model, 4, width=30)
        await settle()
        device.room.set()
        await asyncio.gather(*tasks)
        assert device.batches == [[0], [1, 2], [3], [4]]

    serving(scenario, batch_pixels=8)


def test_budget_counts_output_pixels() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        model = Model(scale=4)
        tasks = start(subject, model, 0)
        await settle()
        tasks += start(subject, model, 1, 2, 3)
        await settle()
        device.room.set()
        await asyncio.gather(*tasks)
        assert device.batches == [[0], [1, 2], [3]]

    serving(scenario, batch_pixels=32)


def test_oldest_is_always_in_the_next_batch() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        model = Model()
        tasks = start(subject, model, 0)
        await settle()
        tasks += start(subject, model, 1, width=3)
        for value in range(10, 20):
            tasks += start(subject, model, value)
        await settle()
        device.room.set()
        await asyncio.gather(*tasks)
        assert device.batches[1] == [1]

    serving(scenario)


@pytest.mark.parametrize("poison", [{3}, {1}, {8}, {2, 7}, {1, 2, 3, 4, 5, 6, 7, 8}, {5, 6}])
def test_poisonous_image_fails_alone(poison: set[int]) -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        device.poison = poison
        model = Model()
        first = start(subject, model, 0)
        await settle()
        tasks = start(subject, model, *range(1, 9))
        await settle()
        device.room.set()
        await asyncio.gather(*first)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for value, result in zip(range(1, 9), results, strict=True):
            assert (str(result) == f"poison in [{value}]") if value in poison else (result == value + 1)
        assert await ask(subject, model, image(50)) == 51

    serving(scenario)


def test_device_that_forgets_a_result_fails_the_batch_and_not_the_loop() -> None:
    async def scenario(device: Device, _: Batcher[Model]) -> None:
        async def forgetful(model: Model, images: list[Pixels]) -> list[Pixels]:
            return images[1:] if int(images[0][0, 0, 0]) == 1 else images

        subject = Batcher(forgetful, QueueLimits(9, 99, 99), Metrics())
        loop = asyncio.create_task(subject.serve())
        with pytest.raises(ValueError, match="shorter"):
            await ask(subject, Model(), image(1))
        assert await ask(subject, Model(), image(2)) == 2
        loop.cancel()

    serving(scenario)


def test_too_many_requests_are_refused_until_one_is_answered() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        tasks = start(subject, Model(), 1, 2)
        await settle()
        with pytest.raises(Overloaded, match="2 are accepted") as refusal:
            await ask(subject, Model(), image(3))
        assert refusal.value.headers == {"Retry-After": "1"}
        device.room.set()
        await asyncio.gather(*tasks)
        assert await ask(subject, Model(), image(4)) == 5

    serving(scenario, requests=2)


def test_too_many_pixels_are_refused() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        tasks = start(subject, Model(), 1, width=6)
        await settle()
        subject.check(4)
        with pytest.raises(Overloaded, match="11 output pixels"):
            await ask(subject, Model(), image(2, width=5))
        device.room.set()
        assert await ask(subject, Model(), image(2, width=4)) == 3
        await asyncio.gather(*tasks)

    serving(scenario, pixels=10)


def test_retry_after_is_the_backlog_at_the_measured_pace() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        subject._pace.measured(pixels=10, seconds=3.0)
        tasks = start(subject, Model(), 1, width=80)
        await settle()
        with pytest.raises(Overloaded) as refusal:
            subject.check(50)
        assert refusal.value.headers == {"Retry-After": "24"}
        assert refusal.value.members == {"retry_after": 24}
        device.room.set()
        await asyncio.gather(*tasks)

    serving(scenario, pixels=100)


def test_pace_follows_the_device() -> None:
    pace = Pace()
    assert pace.seconds(1000) == 0
    for _ in range(100):
        pace.measured(10, 1.0)
    assert pace.seconds(20) == pytest.approx(2.0)
    for _ in range(100):
        pace.measured(10, 3.0)
    assert pace.seconds(20) == pytest.approx(6.0, rel=1e-3)


def test_client_that_leaves_frees_its_place_and_never_runs() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        model = Model()
        (first,) = start(subject, model, 1)
        await settle()
        leaving, staying = start(subject, model, 2, 3)
        await settle()
        leaving.cancel()
        await settle()
        assert subject.admitted_pixels() == 2
        assert subject._metrics.registry.get_sample_value("pastiche_queue_requests") == 1
        device.room.set()
        assert list(await asyncio.gather(first, staying)) == [2, 4]
        assert device.batches == [[1], [3]]
        assert leaving.cancelled()

    serving(scenario)


def test_client_that_leaves_while_it_runs_harms_nobody() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        model = Model()
        (leaving,) = start(subject, model, 1)
        await settle()
        leaving.cancel()
        await settle()
        device.room.set()
        assert await ask(subject, model, image(2)) == 3

    serving(scenario)


def test_what_is_late_never_runs() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        model = Model()
        tasks = start(subject, model, 1)
        await settle()
        late = asyncio.create_task(ask(subject, model, image(2), deadline=monotonic()))
        await settle()
        device.room.set()
        with pytest.raises(DeadlineExceeded):
            await late
        await asyncio.gather(*tasks)
        assert device.batches == [[1]]

    serving(scenario)


def test_drain_admits_nothing_and_finishes_what_was_admitted() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        tasks = start(subject, Model(), 1, 2)
        await settle()
        draining = asyncio.create_task(subject.drain(LATER))
        await settle()
        assert subject.draining
        with pytest.raises(Draining):
            await ask(subject, Model(), image(3))
        assert not draining.done()
        device.room.set()
        assert await asyncio.gather(*tasks) == [2, 3]
        await draining

    serving(scenario)


def test_drain_answers_what_does_not_finish_in_time() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        running, waiting = start(subject, Model(), 1) + start(subject, Model(), 2)
        await settle()
        with subject.admit(Model(), 1, LATER) as decoding:
            await subject.drain(0)
            for task in (running, waiting):
                with pytest.raises(Draining):
                    await task
            with pytest.raises(Draining):
                await subject.submit(decoding, image(3))

    serving(scenario)


def test_drained_job_that_nobody_waits_for_is_silent() -> None:
    """Asyncio reports exceptions that were never retrieved, and a report is a failure here (warnings are errors)."""

    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        with subject.admit(Model(), 1, LATER):
            await subject.drain(0)
        await settle()
        assert reports == []

    serving(scenario)


def test_lost_device_reaches_every_waiter_and_ends_the_loop() -> None:
    async def run() -> None:
        async def lost(model: Model, images: list[Pixels]) -> list[Pixels]:
            await asyncio.sleep(0)
            raise DeviceLost("gone")

        subject = Batcher(lost, QueueLimits(9, 99, 1), Metrics())
        loop = asyncio.create_task(subject.serve())
        results = await asyncio.gather(*start(subject, Model(), 1, 2, 3), return_exceptions=True)
        assert [type(result) for result in results] == [DeviceLost] * 3
        with pytest.raises(DeviceLost):
            await loop

    asyncio.run(run())


def test_gauges_and_histograms_tell_what_happens() -> None:
    async def scenario(device: Device, subject: Batcher[Model]) -> None:
        value = subject._metrics.registry.get_sample_value
        model = Model()
        tasks = start(subject, model, 1)
        await settle()
        tasks += start(subject, model, 2, 3, width=2)
        await settle()
        assert value("pastiche_admitted_requests") == 3
        assert value("pastiche_admitted_pixels") == 5
        assert value("pastiche_queue_requests") == 2
        assert (value("pastiche_queue_oldest_age_seconds") or 0) > 0
        device.room.set()
        await asyncio.gather(*tasks)
        assert value("pastiche_queue_requests") == value("pastiche_admitted_requests") == 0
        assert value("pastiche_batch_size_sum", {"model": "wave"}) == 3
        assert value("pastiche_batch_size_count", {"model": "wave"}) == 2
        assert value("pastiche_batch_pixels_sum", {"model": "wave"}) == 5

    serving(scenario)


def test_job_knows_where_its_time_went() -> None:
    async def run() -> None:
        job = Job(Model(), 1, LATER)
        assert job.durations() == {"queue": 0.0}
        job.queued, job.started, job.finished = 1.0, 3.0, 7.0
        assert job.durations() == {"queue": 2.0, "infer": 4.0}

    asyncio.run(run())
