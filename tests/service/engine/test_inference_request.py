import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import InferenceSpec
from service.engine.priority import Priority, SchedulingPolicy
from service.errors import Draining
from tests.service.imaging.images import photo
from tests.service.pointwise import Model, model

LATER = 1e9
SECOND_PER_TILE: dict[str, Any] = {"tile": 100, "fixed": 1.0}


def looping(test: Callable[[], None]) -> Callable[[], None]:
    """Requests have a future, which belongs to an event loop."""

    async def run() -> None:
        test()

    def looped() -> None:
        asyncio.run(run())

    looped.__name__ = test.__name__
    return looped


STRETCH, LONGEST_PAUSE, BULK_DELAY = (
    SchedulingPolicy().stretch,
    SchedulingPolicy().longest_pause,
    SchedulingPolicy().bulk_delay,
)


def inference(
    subject: Model,
    height: int = 10,
    width: int = 10,
    deadline: float = LATER,
    admitted: float | None = None,
    **options: Any,
) -> InferenceRequest[Model]:
    clock = monotonic if admitted is None else lambda: admitted
    until = Deadline(deadline, options.pop("priority", Priority.INTERACTIVE))
    return InferenceRequest(InferenceSpec(subject, height, width), until, clock=clock, **options)


@looping
def test_work_is_that_of_all_tiles() -> None:
    poster = inference(model(tile=100, fixed=0.5, per_pixel=0.005), 20, 30)
    assert poster.tile_count == len(poster.waiting_tiles) == 6
    assert poster.work_seconds == pytest.approx(6.0)


@looping
def test_small_work_is_due_before_large() -> None:
    subject = model(**SECOND_PER_TILE)
    poster = inference(subject, 100, 100, admitted=1000.0)
    thumbnail = inference(subject, 10, 10, admitted=1000.0 + LONGEST_PAUSE - STRETCH - 0.1)
    assert thumbnail.due() < poster.due()
    assert inference(model(fixed=0.01), admitted=1003.0).due() < poster.due()  # though it came three seconds later


@looping
def test_equal_work_is_due_in_order_of_arrival() -> None:
    subject = model(fixed=0.1)
    assert inference(subject, admitted=1000.0).due() < inference(subject, admitted=1000.1).due()


@looping
def test_every_request_is_due_some_seconds_after_its_latest_tile() -> None:
    poster = inference(model(**SECOND_PER_TILE), 100, 100)
    assert poster.due() == poster.times.admitted + LONGEST_PAUSE
    poster.enqueue(photo(0, 100, 100), predicted_finish=0.0)
    assert poster.due() == poster.times.last_tile + LONGEST_PAUSE
    queued = poster.times.last_tile
    poster.start_tile()
    assert poster.times.last_tile >= queued
    assert poster.due() == poster.times.last_tile + LONGEST_PAUSE


@looping
def test_bulk_is_due_later() -> None:
    small, large = model(fixed=0.1), model(**SECOND_PER_TILE)
    bulk = inference(small, admitted=1000.0, priority=Priority.BULK)
    assert bulk.due() == pytest.approx(1000 + STRETCH * 0.1 + BULK_DELAY)
    assert (
        inference(large, 100, 100, admitted=1000.0, priority=Priority.BULK).due() == 1000 + LONGEST_PAUSE + BULK_DELAY
    )
    assert inference(small, admitted=1059.0).due() < bulk.due() < inference(small, admitted=1061.0).due()


@pytest.mark.parametrize("priority", Priority)
def test_nearer_deadline_is_due_sooner(priority: Priority) -> None:
    @looping
    def compare() -> None:
        poster, now = model(**SECOND_PER_TILE), monotonic()
        hurried = inference(poster, 50, 50, deadline=now + 13, admitted=now, priority=priority, lanes=2)
        assert hurried.due() == now + 13 - 25 / 2  # there are 25 tiles to run before it, two at a time
        assert hurried.due() < inference(poster, 50, 50, admitted=now, priority=priority, lanes=2).due()
        hurried.enqueue(photo(0, 50, 50), predicted_finish=0.0)
        hurried.start_tile()
        assert hurried.due() == now + 13 - 24 / 2

    compare()


@looping
def test_one_tile_does_not_run_on_several_lanes() -> None:
    assert inference(model(fixed=3.0), deadline=1004.0, admitted=1000.0, lanes=4).due() == 1001


@looping
def test_remaining_work_counts_what_is_on_the_device() -> None:
    poster = inference(model(**SECOND_PER_TILE), 10, 30)
    poster.enqueue(photo(0, 10, 30), predicted_finish=0.0)
    image_tile = poster.start_tile()
    poster.expect_end(image_tile.tile, 4.0, 1)
    now = poster.running[image_tile.tile].end - 4.0
    assert poster.remaining_seconds(now) == pytest.approx(2 + 4)
    assert poster.remaining_seconds(now + 3) == pytest.approx(2 + 1)
    assert poster.remaining_seconds(now + 9) == pytest.approx(2)  # the prediction was wrong: it must be done any moment
    poster.finish_tile(image_tile.tile, 5.0)
    assert poster.remaining_seconds(now) == pytest.approx(2)


@looping
def test_tiles_of_a_batch_share_its_time() -> None:
    poster = inference(model(**SECOND_PER_TILE), 10, 30)
    poster.enqueue(photo(0, 10, 30), predicted_finish=0.0)
    tiles = [poster.start_tile().tile for _ in range(3)]
    for tile in tiles:
        poster.expect_end(tile, 6.0, 3)
    assert poster.remaining_seconds(poster.running[tiles[0]].end - 3.0) == pytest.approx(3.0, abs=0.01)


@looping
def test_work_of_a_tile_is_its_share_of_a_padded_batch() -> None:
    """Squares of 10 pixels a side, of which four are a batch, whether there are as many or not: it takes 5 s."""
    subject = model(tile=100, fixed=1.0, per_pixel=0.01, batch=400, sides=(10,))
    one, six = inference(subject, 10, 10, lanes=2), inference(subject, 20, 30, lanes=2)
    assert one.work_seconds == pytest.approx(5 / 4)
    assert six.work_seconds == pytest.approx(6 * 5 / 4)
    assert one.minimum_seconds() == pytest.approx(5)
    assert six.minimum_seconds() == pytest.approx(5)  # two batches side by side
    six.lanes = 1
    assert six.minimum_seconds() == pytest.approx(10)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), height=st.integers(1, 60), width=st.integers(1, 60), fixed=st.floats(0, 9))
def test_sums_are_those_of_the_tiles_that_wait(data: st.DataObject, height: int, width: int, fixed: float) -> None:
    @looping
    def compare() -> None:
        subject = model(tile=100, fixed=fixed, per_pixel=0.01)
        poster = inference(subject, height, width)
        poster.enqueue(photo(0, height, width), predicted_finish=0.0)
        while True:
            expected = sum(subject.cost_model.seconds(tile.pixels) for tile in poster.waiting_tiles)
            assert poster.waiting_seconds == pytest.approx(expected)
            assert poster.minimum_seconds() == pytest.approx(expected)
            if not poster.waiting_tiles:
                break
            action = data.draw(st.sampled_from(["begin"] * 8 + ["measure", "queue", "drop"]))
            if action == "measure":
                subject.cost_model.update(100, data.draw(st.floats(0.1, 10)))
            elif action == "queue":
                poster.enqueue(photo(0, height, width), predicted_finish=0.0)
            elif action == "drop":
                poster.drop_tiles()
            else:
                poster.start_tile()

    compare()


@looping
def test_last_tile_sets_the_result() -> None:
    image = photo(1, 10, 30)
    poster = inference(model(**SECOND_PER_TILE), 10, 30)
    poster.enqueue(image, predicted_finish=0.0)
    tiles = [poster.start_tile() for _ in range(3)]
    for image_tile in reversed(tiles):
        assert not poster.result.done()
        image_tile.paste(image_tile.cut())
        poster.finish_tile(image_tile.tile, 0.25)
    assert np.array_equal(poster.result.result(), image)
    assert poster.device_seconds == 0.75
    assert poster.times.admitted <= poster.times.queued <= poster.times.started <= poster.times.finished <= monotonic()


@looping
def test_failure_leaves_no_tile_to_run() -> None:
    poster = inference(model(**SECOND_PER_TILE), 10, 30)
    poster.enqueue(photo(1, 10, 30), predicted_finish=0.0)
    image_tile = poster.start_tile()
    poster.fail(Draining())
    poster.fail(ValueError("too late: it was answered"))
    assert not poster.waiting_tiles
    poster.finish_tile(image_tile.tile, 1.0)  # the one on the device ends after that
    assert isinstance(poster.result.exception(), Draining)
