"""The scheduler's queue; that what is sorted decides as a scan would is tested in test_scheduler.py."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import InferenceSpec
from service.engine.priority import Priority
from service.engine.request_queue import RENEWALS, RequestQueue, shape_of_next_tile
from service.errors import Draining
from tests.service.imaging.images import photo
from tests.service.pointwise import Model, model

LATER = 1e9


def queued(
    queue: RequestQueue[Model], subject: Model, height: int = 1, width: int = 1, deadline: float = LATER, **options: Any
) -> InferenceRequest[Model]:
    """A request in the queue, admitted at the time `admitted`, 1000 by default."""
    admitted = options.pop("admitted", 1000.0)
    spec = InferenceSpec(subject, height, width)
    until = Deadline(deadline, options.pop("priority", Priority.INTERACTIVE))
    request = InferenceRequest(spec, until, clock=lambda: admitted, **options)
    request.enqueue(photo(0, height, width), predicted_finish=0.0)
    queue.add(request)
    return request


def with_queue(scenario: Callable[[RequestQueue[Model]], None], lanes: int = 2) -> None:
    async def run() -> None:
        scenario(RequestQueue(lanes))

    asyncio.run(run())


def test_most_urgent_is_due_first_and_of_equals_came_first() -> None:
    def scenario(queue: RequestQueue[Model]) -> None:
        assert queue.most_urgent() is None
        subject = model(fixed=0.1)
        late, first, second = (queued(queue, subject, admitted=at) for at in (1001.0, 1000.0, 1000.0))
        seen = []
        while (request := queue.most_urgent()) is not None:
            seen.append(request)
            queue.discard(request)
        assert seen == [first, second, late]
        assert len(queue) == 0

    with_queue(scenario)


def test_small_requests_are_found_behind_large_ones() -> None:
    def scenario(queue: RequestQueue[Model]) -> None:
        subject = model(tile=1, fixed=0.1)
        large, small = queued(queue, subject, width=3), queued(queue, subject, width=2, priority=Priority.BULK)
        assert [queue.is_large(request) for request in (large, small)] == [True, False]
        assert (queue.most_urgent(), queue.most_urgent_small()) == (large, small)

    with_queue(scenario)


def test_requests_of_one_shape_are_found_among_others() -> None:
    def scenario(queue: RequestQueue[Model]) -> None:
        subject, other = model(fixed=0.1), model(fixed=0.1)
        queued(queue, other, 2, 3)
        queued(queue, subject, 3, 2)
        wanted = queued(queue, subject, 2, 3)
        assert queue.most_urgent_of((subject, 2, 3)) is wanted
        assert queue.most_urgent_of((subject, 5, 5)) is None
        wanted.start_tile()
        queue.renew(wanted)
        assert queue.most_urgent_of((subject, 2, 3)) is None
        assert wanted not in list(queue)

    with_queue(scenario)


def test_what_has_failed_is_never_given() -> None:
    def scenario(queue: RequestQueue[Model]) -> None:
        subject = model(fixed=0.1)
        failed, sound = queued(queue, subject), queued(queue, subject)
        failed.fail(Draining())
        assert queue.most_urgent() is queue.most_urgent_of(shape_of_next_tile(sound)) is sound
        assert list(queue) == [sound]
        failed.result.exception()

    with_queue(scenario)


def test_late_is_what_cannot_be_done_before_its_deadline() -> None:
    def scenario(queue: RequestQueue[Model]) -> None:
        subject = model(fixed=8.0)
        late = [queued(queue, subject, deadline=1000.0 + seconds) for seconds in (9.9, 10.0)]
        in_time = queued(queue, subject, deadline=1010.1)
        assert list(queue.pop_late(1000.0)) == late
        assert list(queue) == [in_time]

    with_queue(scenario)


def test_late_is_decided_by_the_present_prediction() -> None:
    """That of 12 s for a queue that is too long for all of its predictions to be new."""

    def scenario(queue: RequestQueue[Model]) -> None:
        subject = model(fixed=12.0)
        requests = [queued(queue, subject, deadline=1012.0) for _ in range(RENEWALS + 1)]
        for _ in range(50):
            subject.cost_model.update(1, 6.0)
        assert list(queue.pop_late(1000.0)) == []
        assert len(queue) == len(requests)

    with_queue(scenario)


@pytest.mark.parametrize("count", [1, RENEWALS, 3 * RENEWALS])
def test_predictions_are_renewed_in_turn(count: int) -> None:
    """All are due by their deadlines, less the work that is predicted; the heaviest is due first when work grows."""

    def scenario(queue: RequestQueue[Model]) -> None:
        light, heavy = model(fixed=1.0), model(fixed=1.0)
        for _ in range(count):
            queued(queue, light, deadline=1003.0)
        last = queued(queue, heavy, deadline=1003.1)
        for _ in range(50):
            heavy.cost_model.update(1, 2.0)
        for _ in range(count // RENEWALS + 1):
            queue.renew_oldest()
        assert queue.most_urgent() is last

    with_queue(scenario)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_order_is_that_of_sorting(data: st.DataObject) -> None:
    def scenario(queue: RequestQueue[Model]) -> None:
        models = [model(tile=4, fixed=0.2), model(tile=4, fixed=3.0)]
        requests: list[InferenceRequest[Model]] = []
        for _ in range(data.draw(st.integers(1, 30))):
            action = data.draw(st.sampled_from(["add", "add", "start", "fail", "update"]))
            if action == "add" or not requests:
                subject, seconds = data.draw(st.sampled_from(models)), data.draw(st.floats(0, 20))
                width, priority = data.draw(st.integers(1, 12)), data.draw(st.sampled_from(Priority))
                requests.append(queued(queue, subject, 2, width, deadline=1000 + seconds, priority=priority))
            elif action == "update":
                data.draw(st.sampled_from(models)).cost_model.update(4, data.draw(st.floats(0.1, 10)))
            else:
                request = data.draw(st.sampled_from(requests))
                if action == "start":
                    request.start_tile()
                    queue.renew(request)
                else:
                    request.fail(Draining())
                    request.result.exception()
                requests = [each for each in requests if each.waiting_tiles]
            for _ in range(2):  # as often as there are RENEWALS in the longest queue
                queue.renew_oldest()
            expected = sorted(requests, key=InferenceRequest.due)
            assert queue.most_urgent() is next(iter(expected), None)
            assert queue.most_urgent_small() is next((each for each in expected if not queue.is_large(each)), None)
            for shape in {shape_of_next_tile(each) for each in requests}:
                alike = (each for each in expected if shape_of_next_tile(each) == shape)
                assert queue.most_urgent_of(shape) is next(alike)

    with_queue(scenario)


def test_requests_become_large_when_lanes_are_lost() -> None:
    def scenario(queue: RequestQueue[Model]) -> None:
        subject = model(tile=1)
        first, second = (queued(queue, subject, width=width, deadline=LATER + width, lanes=4) for width in (3, 1))
        assert queue.most_urgent_small() is first
        queue.use_lanes(2)
        assert queue.is_large(first)
        assert queue.most_urgent_small() is second
        assert queue.most_urgent() is first
        queue.discard(first)
        queue.discard(second)
        assert queue.most_urgent() is None

    with_queue(scenario, lanes=4)
