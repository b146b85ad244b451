import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest

from model_store import NetworkSpec, TransformNetwork
from service.engine.cost_model import CostModel
from service.engine.deadline import Deadline
from service.engine.inference_spec import InferenceSpec
from service.engine.priority import Priority, SchedulingPolicy
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile, Tile, TileSizes, Tiling
from service.errors import ClientGone, DeadlineExceeded, DeviceLost, Draining
from service.telemetry.metrics import Metrics
from tests.service.engine.scheduled import LATER, SECOND_PER_TILE, Clock, Service, image, serving, settle
from tests.service.imaging.images import photo
from tests.service.pointwise import Model, model


def test_lone_image_runs_at_once() -> None:
    async def scenario(service: Service) -> None:
        service.device.free()
        assert await service.ask(model(), image(7)) == 8
        assert service.device.batches == [[7]]

    serving(scenario)


@pytest.mark.parametrize("scale", [1, 2])
def test_result_is_put_together_from_tiles(scale: int) -> None:
    async def scenario(service: Service) -> None:
        service.device.free()
        result = await service.paint(model(scale=scale, tile=9), photo(3, 20, 31))
        assert np.array_equal(result, (photo(3, 20, 31) + 1).repeat(scale, 0).repeat(scale, 1))
        assert len(service.device.batches_run) > 50

    serving(scenario, lanes=3)


def test_request_waits_for_the_weights_of_its_model_alone() -> None:
    loaded = asyncio.Event()

    @asynccontextmanager
    async def hold(subject: Model) -> AsyncIterator[None]:
        if subject.name == "cold":
            await loaded.wait()
        yield

    async def scenario(service: Service) -> None:
        service.device.free()
        cold = await service.post(model("cold"), 1)
        assert await asyncio.gather(*await service.post(model("warm"), 2)) == [3]
        with pytest.raises(DeadlineExceeded, match="its model was loaded"):
            await service.ask(model("cold"), image(3), monotonic())
        loaded.set()
        assert await asyncio.gather(*cold) == [2]

    serving(scenario, hold_weights=hold)


def test_drain_reaches_a_request_that_waits_for_weights() -> None:
    @asynccontextmanager
    async def hold(_: Model) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    async def scenario(service: Service) -> None:
        (task,) = await service.post(model("cold"), 1)
        await settle()
        await service.admission.drain(0)
        with pytest.raises(Draining):
            await task
        assert service.device.batches == []

    serving(scenario, hold_weights=hold)


def test_weights_are_kept_while_a_batch_runs_whose_client_has_left() -> None:
    kept: list[str] = []

    @contextmanager
    def keep(subject: Model) -> Iterator[None]:
        kept.append(subject.name)
        yield
        kept.remove(subject.name)

    async def scenario(service: Service) -> None:
        (task,) = await service.post(model("wave"), 1)
        task.cancel()
        await settle()
        assert (task.cancelled(), kept) == (True, ["wave"])
        await service.device.finish(1)
        assert kept == []

    serving(scenario, keep_weights=keep)


def test_batches_grow_while_the_device_is_busy() -> None:
    async def scenario(service: Service) -> None:
        subject = model(batch=1000)
        first = await service.post(subject, 1)
        rest = await service.post(subject, 2, 3, 4)
        assert service.device.batches == [[1]]
        service.device.free()
        assert await asyncio.gather(*first, *rest) == [2, 3, 4, 5]
        assert service.device.batches == [[1], [2, 3, 4]]

    serving(scenario)


def test_only_equal_shapes_of_one_model_share_a_batch() -> None:
    async def scenario(service: Service) -> None:
        wave, other = model(batch=1000), model(batch=1000)
        tasks = await service.post(wave, 0)
        for subject, value, height, width in ((wave, 1, 1, 1), (other, 2, 1, 1), (wave, 3, 1, 2), (wave, 4, 1, 1)):
            tasks += await service.post(subject, value, height=height, width=width)
        tasks += await service.post(other, 5) + await service.post(wave, 6, height=2)
        service.device.free()
        assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5, 6, 7]
        assert service.device.batches == [[0], [1, 4], [2, 5], [3], [6]]
        assert [one.model for one in service.device.batches_run] == [wave, wave, other, wave, wave]

    serving(scenario)


def test_tiles_of_different_images_share_a_batch_up_to_the_budget() -> None:
    async def scenario(service: Service) -> None:
        subject = model(batch=16, tile=4)
        tasks = await service.post(subject, 0)
        tasks += await service.post(subject, 1, height=4, width=6)
        tasks += await service.post(subject, 2, height=2, width=2)
        tasks += await service.post(subject, 3, height=4, width=4)
        service.device.free()
        assert await asyncio.gather(*tasks) == [1, 2, 3, 4]
        assert service.device.batches == [[0], [1] * 4, [1, 1, 2, 3], [3] * 3]

    serving(scenario)


def test_batch_keeps_to_the_pixel_budget_except_for_its_first() -> None:
    async def scenario(service: Service) -> None:
        subject = model(batch=8)
        tasks = await service.post(subject, 0)
        tasks += await service.post(subject, 1, 2, 3, width=4) + await service.post(subject, 4, width=30)
        service.device.free()
        await asyncio.gather(*tasks)
        assert service.device.batches == [[0], [1, 2], [3], [4]]

    serving(scenario)


def test_most_urgent_is_always_in_the_next_batch() -> None:
    async def scenario(service: Service) -> None:
        subject = model(batch=1000)
        tasks = await service.post(subject, 0) + await service.post(subject, 1, width=3)
        tasks += await service.post(subject, *range(10, 20))
        service.device.free()
        await asyncio.gather(*tasks)
        assert service.device.batches[1] == [1]

    serving(scenario)


def test_thumbnail_behind_a_hundred_tiles_runs_next() -> None:
    async def scenario(service: Service) -> None:
        (poster,) = await service.post(model(**SECOND_PER_TILE), 1, height=10, width=10)
        (thumbnail,) = await service.post(model(fixed=0.01), 2)
        await service.device.finish(1)
        assert service.device.batches == [[1], [2]]
        await service.device.finish(2)
        assert await thumbnail == 3
        assert not poster.done()
        service.device.free()
        assert await poster == 2
        assert len(service.device.batches_run) == 101

    serving(scenario)


def test_poster_that_can_just_be_done_in_time_lets_thumbnails_through() -> None:
    async def scenario(service: Service) -> None:
        poster = model(**SECOND_PER_TILE)
        tasks = await service.post(poster, 1, height=10, width=10, deadline=monotonic() + 75)  # it takes 50 s
        tasks += await service.post(model(fixed=0.01), 2)
        await service.device.finish(1)
        assert service.device.batches == [[1], [1], [2]]
        service.device.free()
        assert await asyncio.gather(*tasks) == [2, 3]

    serving(scenario, lanes=2)


def test_poster_is_not_put_off_for_ever() -> None:
    async def scenario(service: Service) -> None:
        poster, thumbnail = model(**SECOND_PER_TILE), model(fixed=10.0)
        tasks = await service.post(poster, 1, height=2, width=2)
        tasks += await service.post(thumbnail, 2, 3)
        service.device.free()
        await asyncio.gather(*tasks)
        assert service.device.batches == [[1], [1], [2], [3], [1], [1]]

    serving(scenario, policy=SchedulingPolicy(longest_pause=0.0))


def test_interactive_work_runs_before_bulk() -> None:
    async def scenario(service: Service) -> None:
        subject = model(fixed=0.01)
        tasks = await service.post(subject, 0)
        tasks += await service.post(subject, 1, 2, priority=Priority.BULK) + await service.post(subject, 3)
        service.device.free()
        await asyncio.gather(*tasks)
        assert service.device.batches == [[0], [3], [1], [2]]

    serving(scenario)


def test_nearer_deadline_runs_first() -> None:
    async def scenario(service: Service) -> None:
        subject = model(fixed=1.0)
        tasks = await service.post(subject, 0, 1)
        tasks += await service.post(subject, 2, deadline=monotonic() + 5)
        service.device.free()
        await asyncio.gather(*tasks)
        assert service.device.batches == [[0], [2], [1]]

    serving(scenario)


@pytest.mark.parametrize("poison", [{3}, {1}, {8}, {2, 7}, {1, 2, 3, 4, 5, 6, 7, 8}, {5, 6}])
def test_poisonous_tile_fails_its_image_alone(poison: set[int]) -> None:
    async def scenario(service: Service) -> None:
        service.device.poison = poison
        subject = model(batch=1000)
        first = await service.post(subject, 0)
        tasks = await service.post(subject, *range(1, 9))
        service.device.free()
        await asyncio.gather(*first)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for value, result in zip(range(1, 9), results, strict=True):
            assert (str(result) == f"poison in [{value}]") if value in poison else (result == value + 1)
        assert await service.ask(subject, image(50)) == 51
        assert service.value("batches_bisected_total", model="wave") >= 3
        assert service.value("admitted_requests") == service.value("queue_requests") == 0

    serving(scenario)


def test_poisonous_tile_ends_its_whole_job() -> None:
    async def scenario(service: Service) -> None:
        service.device.poison = {9}
        subject, picture = model(batch=4, tile=1), image(1, 1, 50)
        picture[0, 3] = 9
        sick = asyncio.create_task(service.paint(subject, picture))
        await settle()
        sound = await service.post(subject, 5, width=4)
        service.device.free()
        with pytest.raises(ValueError, match="poison in \\[9\\]"):
            await sick
        assert await asyncio.gather(*sound) == [6]
        assert (
            len(service.device.batches_run) < 20
        )  # of the 46 tiles behind the poison only those that were on their way ran
        assert service.value("device_wasted_seconds_total") > 0

    serving(scenario, lanes=2)


def test_client_that_leaves_frees_its_place_and_never_runs() -> None:
    async def scenario(service: Service) -> None:
        subject = model()
        first = await service.post(subject, 1)
        leaving, staying = await service.post(subject, 2, 3)
        leaving.cancel()
        await settle()
        assert service.admission.output_pixels() == 2
        assert service.value("queue_requests") == 1
        service.device.free()
        assert list(await asyncio.gather(*first, staying)) == [2, 4]
        assert service.device.batches == [[1], [3]]
        assert leaving.cancelled()

    serving(scenario)


def test_tiles_of_an_abandoned_job_never_run() -> None:
    async def scenario(service: Service) -> None:
        leaving, staying = await service.post(model(tile=1), 1, 2, width=50)
        assert service.device.batches == [[1], [1]]
        leaving.cancel()
        await settle()
        assert service.value("queue_requests") == 1
        service.device.free()
        assert await staying == 3
        assert service.device.batches == [[1], [1], *[[2]] * 50]
        assert service.value("device_wasted_seconds_total") > 0  # by the two that were on the device

    serving(scenario, lanes=2)


def test_device_time_of_answers_that_are_received_is_not_wasted() -> None:
    async def scenario(service: Service) -> None:
        service.device.free()
        await service.ask(model(tile=1), image(1, width=9))
        assert service.value("device_wasted_seconds_total") == 0

    serving(scenario)


def test_device_time_is_counted_once() -> None:
    """Two tiles before the client left and one after it, each for 8 s on one of two lanes."""
    clock = Clock()

    async def scenario(service: Service) -> None:
        with service.admission.admit(
            [InferenceSpec(model(), 1, 1)], Deadline(LATER)
        ):  # beside it nothing runs exclusively
            (leaving,) = await service.post(model(tile=1), 1, width=4)
            clock.now += 8
            await service.device.finish(1)
            await service.device.finish(1)
            assert len(service.device.running) == 2
            leaving.cancel()
            await settle()
            assert service.value("device_wasted_seconds_total") == pytest.approx(8)
            clock.now += 8
            service.device.free()
            await settle()
            assert service.value("device_wasted_seconds_total") == pytest.approx(16)

    serving(scenario, lanes=2, clock=clock)


def test_client_that_leaves_while_it_runs_harms_nobody() -> None:
    async def scenario(service: Service) -> None:
        (leaving,) = await service.post(model(), 1)
        leaving.cancel()
        await settle()
        service.device.free()
        assert await service.ask(model(), image(2)) == 3

    serving(scenario)


def test_what_is_late_never_runs() -> None:
    async def scenario(service: Service) -> None:
        tasks = await service.post(model(), 1)
        (late,) = await service.post(model(), 2, deadline=monotonic())
        service.device.free()
        with pytest.raises(DeadlineExceeded):
            await late
        await asyncio.gather(*tasks)
        assert service.device.batches == [[1]]

    serving(scenario)


def test_what_was_promised_runs_though_it_is_late_until_its_grace_is_over() -> None:
    async def scenario(service: Service) -> None:
        tasks = await service.post(model(), 1)
        late = await service.post(model(), 2, deadline=monotonic(), grace=LATER)
        over = await service.post(model(), 3, deadline=monotonic() - 1, grace=0.5)
        service.device.free()
        with pytest.raises(DeadlineExceeded):
            await over[0]
        assert await asyncio.gather(*tasks, *late) == [2, 3]

    serving(scenario)


def test_what_could_not_be_done_in_time_is_given_up_between_its_tiles() -> None:
    async def scenario(service: Service) -> None:
        (task,) = await service.post(model(**SECOND_PER_TILE), 1, height=10, width=10)
        with service.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)):
            for request in service.admission.inferences:
                request.deadline = Deadline(monotonic() + 20)  # 99 s of work are left
            await service.device.finish(1)
            with pytest.raises(DeadlineExceeded):
                await task
        assert service.device.batches == [[1]]
        assert service.value("queue_requests") == 0
        assert service.value("device_wasted_seconds_total") > 0

    serving(scenario)


def test_lone_job_is_tried_however_long_it_seems_to_take() -> None:
    async def scenario(service: Service) -> None:
        service.device.free()
        assert await service.ask(model(fixed=1000.0), image(1), deadline=monotonic() + 60) == 2

    serving(scenario)


def test_cost_model_follows_the_batches() -> None:
    async def scenario(service: Service) -> None:
        service.device.free()
        subject = model(fixed=1.0)
        await service.ask(subject, image(1))
        assert subject.cost_model.seconds(1, exclusive=True) < 1
        assert subject.cost_model.seconds(1) == 1
        await asyncio.gather(*await service.post(subject, 2, 3))
        assert subject.cost_model.seconds(1) < 1

    serving(scenario, lanes=2)


def test_cost_model_is_that_of_padded_batches() -> None:
    """Four tiles are a batch, which takes 5 s as predicted: though only two came, there is nothing to correct."""
    clock = Clock()

    async def scenario(service: Service) -> None:
        subject = model(tile=100, fixed=1.0, per_pixel=0.01, batch=400, sides=(10,))
        tasks = await service.post(subject, 1, height=10, width=20)
        assert service.device.batches == [[1, 1]]
        (request,) = service.admission.inferences
        assert request.remaining_seconds(request.times.last_tile) == pytest.approx(5, abs=0.1)
        clock.now += 5
        service.device.free()
        assert await asyncio.gather(*tasks) == [2]
        assert subject.cost_model.seconds(400) == pytest.approx(5)

    serving(scenario, exclusive_batches=False, clock=clock)


def test_predictions_are_compared_with_what_came() -> None:
    async def scenario(service: Service) -> None:
        service.device.free()
        await service.ask(model(fixed=1000.0), image(1))
        assert service.value("prediction_ratio_count") == 1
        assert service.value("prediction_ratio_bucket", le="4.0") == 0

    serving(scenario)


def test_job_that_was_drained_while_it_was_decoded_never_runs() -> None:
    async def scenario(service: Service) -> None:
        with service.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)) as (decoding,):
            await service.admission.drain(0)
            with pytest.raises(Draining):
                await service.scheduler.submit(decoding, image(3))
        assert service.device.batches == []

    serving(scenario)


@pytest.mark.parametrize("moments", range(6))
def test_loop_survives_a_drain_at_any_moment(moments: int) -> None:
    async def scenario(service: Service) -> None:
        tasks = await service.post(model(tile=1), 1, 2, width=9)
        service.device.free()
        for _ in range(moments):
            await asyncio.sleep(0)
        for request in service.admission.inferences:
            request.fail(Draining())
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await service.ask(model(), image(3)) == 4

    serving(scenario)


def test_end_of_the_loop_answers_what_is_on_the_device() -> None:
    async def run() -> None:
        service = Service(Concurrency(1, exclusive_batches=False))
        loop = asyncio.create_task(service.scheduler.serve())
        (task,) = await service.post(model(), 1)
        loop.cancel()
        with pytest.raises(Draining):
            await task

    asyncio.run(run())


def test_lost_device_reaches_every_waiter_and_ends_the_loop() -> None:
    async def run() -> None:
        async def lost(subject: Model, tiles: Sequence[ImageTile], exclusive: bool) -> None:
            await asyncio.sleep(0)
            raise DeviceLost("gone")

        service = Service(Concurrency(1, exclusive_batches=False))
        service.scheduler = Scheduler(lost, service.admission, Concurrency(1, exclusive_batches=False), Metrics())
        loop = asyncio.create_task(service.scheduler.serve())
        results = await asyncio.gather(*await service.post(model(), 1, 2, 3), return_exceptions=True)
        assert [type(result) for result in results] == [DeviceLost] * 3
        with pytest.raises(DeviceLost):
            await loop
        (late,) = await service.post(model(), 4)
        with pytest.raises(Draining):
            await late

    asyncio.run(run())


def test_lost_device_ends_what_runs_on_the_other_lane() -> None:
    async def run() -> None:
        service = Service(Concurrency(2, exclusive_batches=False))

        async def lost(subject: Model, tiles: Sequence[ImageTile], exclusive: bool) -> None:
            if subject.name == "lost":
                raise DeviceLost("gone")
            await service.device.run(subject, tiles, exclusive)

        service.scheduler = Scheduler(lost, service.admission, Concurrency(2, exclusive_batches=False), Metrics())
        loop = asyncio.create_task(service.scheduler.serve())
        tasks = await service.post(model(), 1) + await service.post(model("lost"), 2)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [DeviceLost] * 2
        with pytest.raises(DeviceLost):
            await loop

    asyncio.run(run())


def test_gauges_and_histograms_tell_what_happens() -> None:
    async def scenario(service: Service) -> None:
        subject = model(batch=1000)
        tasks = await service.post(subject, 1)
        tasks += await service.post(subject, 2, 3, width=2)
        assert service.value("admitted_requests") == 3
        assert service.value("admitted_pixels") == 5
        assert service.value("queue_requests") == 2
        assert service.value("queue_oldest_age_seconds") > 0
        service.device.free()
        await asyncio.gather(*tasks)
        assert service.value("queue_requests") == service.value("admitted_requests") == 0
        assert service.value("queue_oldest_age_seconds") == 0
        assert service.value("batch_size_sum", model="wave") == 3
        assert service.value("batch_size_count", model="wave") == 2
        assert service.value("batch_pixels_sum", model="wave") == 5

    serving(scenario)


def test_client_that_leaves_is_seen_by_admission() -> None:
    async def scenario(service: Service) -> None:
        for _ in range(20):
            with (
                suppress(ClientGone),
                service.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER, is_default=True)) as (job,),
            ):
                waiting = asyncio.create_task(service.scheduler.submit(job, image(1)))
                await settle()
                waiting.cancel()
                await settle()
                raise ClientGone("gone")
        assert service.admission.patience.seconds() < 30

    serving(scenario)


def test_fault_of_the_scheduler_itself_fails_its_batch_alone() -> None:
    """The cost model of a model that was built wrongly raises after its batch has run."""

    class BrokenCostModel(CostModel):
        def update(self, pixels: float, seconds: float, batches: float = 1, *, exclusive: bool = False) -> None:
            raise ZeroDivisionError(f"{pixels} {seconds} {batches} {exclusive}")

    async def scenario(service: Service) -> None:
        service.device.free()
        broken = replace(model("broken"), cost_model=BrokenCostModel(0.0, 0.0))
        with pytest.raises(ZeroDivisionError):
            await service.ask(broken, image(1))
        assert await service.ask(model(), image(2)) == 3
        assert service.value("admitted_requests") == service.value("queue_requests") == 0

    serving(scenario)


@pytest.mark.parametrize("error", [TypeError("a fault"), KeyError("a fault"), StopIteration("a fault")])
def test_fault_in_a_backend_fails_its_requests_alone(error: Exception) -> None:
    async def scenario(service: Service) -> None:
        service.device.fault = error
        service.device.poison = {2}
        service.device.free()
        results = await asyncio.gather(*await service.post(model(batch=100), 1, 2, 3), return_exceptions=True)
        assert [results[0], results[2]] == [2, 4]
        assert isinstance(results[1], RuntimeError if isinstance(error, StopIteration) else type(error))
        assert await service.ask(model(), image(2 + 3)) == 6
        assert service.value("admitted_requests") == service.value("queue_requests") == 0

    serving(scenario, lanes=2)


def test_batch_that_is_cancelled_on_the_device_fails_its_requests_alone() -> None:
    async def scenario(service: Service) -> None:
        service.device.fault = asyncio.CancelledError()
        service.device.poison = {1}
        service.device.free()
        with pytest.raises(RuntimeError, match="cancelled on the device"):
            await service.ask(model(), image(1))
        assert await service.ask(model(), image(2)) == 3

    serving(scenario)


def test_fault_in_scheduling_fails_what_is_queued_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class BrokenTiling(Tiling):
        def max_batch(self, tile: Tile) -> int:
            raise KeyError(tile)

    async def scenario(service: Service) -> None:
        service.device.free()
        network = TransformNetwork(NetworkSpec(architecture="c1s1-3", norm="none"))
        broken = replace(model("broken"), tiling=BrokenTiling(network, TileSizes(2**20)))
        with pytest.raises(KeyError):
            await service.ask(broken, image(1))
        assert await service.ask(model(), image(2)) == 3
        assert service.value("admitted_requests") == service.value("queue_requests") == 0

    serving(scenario)
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_lost_device_takes_its_lanes_with_it() -> None:
    async def scenario(service: Service) -> None:
        subject = model(fixed=1.0)
        tasks = await service.post(subject, *range(6))
        assert len(service.device.running) == 4
        before = service.value("backlog_seconds")
        service.scheduler.use_lanes(2)
        assert service.value("backlog_seconds") == pytest.approx(2 * before, rel=0.1)
        for value in range(2):
            await service.device.finish(value)
        assert len(service.device.running) == 2
        await service.device.finish(2)
        assert len(service.device.running) == 2
        service.device.free()
        assert await asyncio.gather(*tasks) == list(range(1, 7))

    serving(scenario, lanes=4, exclusive_batches=False)


def test_wasted_time_is_that_of_one_of_several_devices() -> None:
    clock = Clock()

    async def run() -> None:
        service = Service(Concurrency(4, exclusive_batches=False, devices=2), clock=clock)
        loop = asyncio.create_task(service.scheduler.serve())
        (leaving,) = await service.post(model(), 1)
        leaving.cancel()
        await settle()
        clock.now += 8
        service.device.free()
        await settle()
        assert service.value("device_wasted_seconds_total") == pytest.approx(4)
        loop.cancel()

    asyncio.run(run())
