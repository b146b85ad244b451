"""Which batches the scheduler runs side by side, and which on all lanes."""

import asyncio

from service.engine.deadline import Deadline
from service.engine.inference_spec import InferenceSpec
from service.engine.scheduler import MOST_DISTANT, NEAR_SECONDS
from tests.service.engine.scheduled import LATER, SECOND_PER_TILE, Clock, Service, image, serving
from tests.service.pointwise import model


def test_lone_pass_has_all_lanes_and_nothing_starts_beside_it() -> None:
    async def scenario(service: Service) -> None:
        subject = model()
        tasks = await service.post(subject, 1) + await service.post(subject, 2, 3, 4)
        assert service.device.batches == [[1]]
        await service.device.finish(1)
        assert service.device.batches == [[1], [2], [3]]
        assert [one.exclusive for one in service.device.batches_run] == [True, False, False]
        service.device.free()
        await asyncio.gather(*tasks)

    serving(scenario, lanes=2)


def test_pass_has_one_lane_where_anything_else_is_admitted() -> None:
    async def scenario(service: Service) -> None:
        with service.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)):  # being decoded
            (task,) = await service.post(model(), 1)
            service.device.free()
            await task
        await service.ask(model(), image(2))
        await service.ask(model(tile=1), image(3, width=2))
        assert [one.exclusive for one in service.device.batches_run] == [False, True, False, False]

    serving(scenario, lanes=2)


def test_what_takes_long_to_decode_or_to_encode_leaves_all_lanes_to_a_lone_pass() -> None:
    clock = Clock()

    async def scenario(service: Service) -> None:
        service.device.free()
        with service.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)) as (other,):
            clock.now += 2 * NEAR_SECONDS
            await service.ask(model(), image(1))
            await service.scheduler.submit(other, image(2))
            await service.ask(model(), image(3))  # it is being encoded, and may soon be followed by another one
            clock.now += 2 * NEAR_SECONDS
            await service.ask(model(), image(4))
        assert [one.values for one in service.device.batches_run if one.exclusive] == [[1], [2], [4]]

    serving(scenario, lanes=2, clock=clock)


def test_each_network_of_a_chain_has_all_lanes_where_nobody_else_is_served() -> None:
    async def scenario(service: Service) -> None:
        service.device.free()
        specs = [InferenceSpec(model(), 1, 1)] * 2
        with service.admission.admit(specs, Deadline(LATER)) as (first, second):
            await service.scheduler.submit(first, image(1))
            await service.scheduler.submit(second, image(2))
        with service.admission.admit(specs, Deadline(LATER)) as both:  # two styles of one mixture
            await asyncio.gather(*(service.scheduler.submit(each, image(3)) for each in both))
        assert [one.exclusive for one in service.device.batches_run] == [True, True, False, False]

    serving(scenario, lanes=2)


def test_what_waits_for_the_device_leaves_one_lane_however_long_it_waits() -> None:
    clock = Clock()

    async def scenario(service: Service) -> None:
        tasks = await service.post(model(), 1) + await service.post(model(), 2) + await service.post(model(), 3)
        clock.now += 2 * NEAR_SECONDS
        await service.device.finish(1)
        assert [(one.values, one.exclusive) for one in service.device.running] == [([2], False), ([3], False)]
        service.device.free()
        await asyncio.gather(*tasks)

    serving(scenario, lanes=2, clock=clock)


def test_many_admitted_requests_leave_one_lane() -> None:
    clock = Clock()

    async def scenario(service: Service) -> None:
        service.device.free()
        with service.admission.admit([InferenceSpec(model(), 1, 1)] * MOST_DISTANT, Deadline(LATER)):
            clock.now += 2 * NEAR_SECONDS
            await service.ask(model(), image(1))
        with service.admission.admit([InferenceSpec(model(), 1, 1)] * (MOST_DISTANT - 1), Deadline(LATER)):
            clock.now += 2 * NEAR_SECONDS
            await service.ask(model(), image(2))
        assert [one.exclusive for one in service.device.batches_run] == [False, True]

    serving(scenario, lanes=2, clock=clock)


def test_lanes_of_a_gpu_do_not_become_one() -> None:
    async def scenario(service: Service) -> None:
        tasks = await service.post(model(), 1) + await service.post(model(), 2)
        assert [one.exclusive for one in service.device.running] == [False, False]
        service.device.free()
        await asyncio.gather(*tasks)

    serving(scenario, lanes=2, exclusive_batches=False)


def test_tiles_of_one_image_run_on_all_lanes() -> None:
    async def scenario(service: Service) -> None:
        (task,) = await service.post(model(tile=1), 1, width=8)
        assert len(service.device.running) == 3
        service.device.free()
        assert await task == 2

    serving(scenario, lanes=3)


def test_lane_is_kept_for_small_requests_while_they_come() -> None:
    clock = Clock()

    async def scenario(service: Service) -> None:
        small, poster = model(fixed=0.01), model(**SECOND_PER_TILE)
        tasks = await service.post(small, 0)
        await service.device.finish(0)
        tasks += await service.post(poster, 1, height=10, width=10)
        for value in range(2, 6):
            assert [one.values for one in service.device.running] == [[1]]
            tasks += await service.post(small, value)
            assert [one.values for one in service.device.running] == [[1], [value]]
            await service.device.finish(value)
        clock.now += 1.1  # no more of them
        await service.device.finish(1)
        assert [one.values for one in service.device.running] == [[1], [1]]
        service.device.free()
        await asyncio.gather(*tasks)

    serving(scenario, lanes=2, clock=clock)


def test_kept_lane_is_used_when_the_small_requests_have_stopped() -> None:
    clock = Clock()

    async def scenario(service: Service) -> None:
        tasks = await service.post(model(fixed=0.01), 0)
        await service.device.finish(0)
        tasks += await service.post(model(**SECOND_PER_TILE), 1, height=10, width=10)
        assert [one.values for one in service.device.running] == [[1]]
        clock.now += 0.06
        while len(service.device.running) < 2:  # noqa: ASYNC110 # by itself: nothing else happens
            await asyncio.sleep(0.01)
        service.device.free()
        await asyncio.gather(*tasks)

    serving(scenario, lanes=2, small_request_seconds=0.05, clock=clock)


def test_bulky_job_has_all_lanes_where_no_small_ones_come() -> None:
    async def scenario(service: Service) -> None:
        (task,) = await service.post(model(**SECOND_PER_TILE), 1, height=10, width=10)
        assert len(service.device.running) == 2
        service.device.free()
        await task

    serving(scenario, lanes=2)


def test_bulky_job_that_is_due_takes_the_last_lane() -> None:
    async def scenario(service: Service) -> None:
        small, poster = model(fixed=0.01), model(**SECOND_PER_TILE)
        tasks = await service.post(small, 0)
        await service.device.finish(0)
        tasks += await service.post(poster, 1, height=10, width=10)
        assert len(service.device.running) == 1
        for request in service.admission.inferences:
            request.times.admitted -= 10_000
        tasks += await service.post(small, 2)
        assert [one.values for one in service.device.running] == [[1], [1]]
        service.device.free()
        await asyncio.gather(*tasks)

    serving(scenario, lanes=2)
