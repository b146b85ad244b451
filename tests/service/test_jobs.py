import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import Draining
from service.jobs import BULK_PATIENCE, LONGEST_PAUSE, STRETCH, Job, Priority, durations
from tests.service.live import photo
from tests.service.pointwise import Model, model

LATER = 1e9
SECOND_PER_TILE: dict[str, Any] = {"tile": 100, "fixed": 1.0}


def looping(test: Callable[[], None]) -> Callable[[], None]:
    """Jobs have a future, which belongs to an event loop."""

    async def run() -> None:
        test()

    def looped() -> None:
        asyncio.run(run())

    looped.__name__ = test.__name__
    return looped


def job(subject: Model, height: int = 10, width: int = 10, deadline: float = LATER, **options: Any) -> Job[Model]:
    return Job(subject, height, width, deadline, **options)


@looping
def test_work_is_that_of_all_tiles() -> None:
    poster = job(model(tile=100, fixed=0.5, per_pixel=0.005), 20, 30)
    assert poster.count == len(poster.tiles) == 6
    assert poster.work == pytest.approx(6.0)
    assert job(model(scale=2), 20, 30).output_pixels == 2400


@looping
def test_small_work_is_due_before_large() -> None:
    subject = model(**SECOND_PER_TILE)
    poster = job(subject, 100, 100, admitted=1000.0)
    thumbnail = job(subject, 10, 10, admitted=1000.0 + LONGEST_PAUSE - STRETCH - 0.1)
    assert thumbnail.due() < poster.due()
    assert job(model(fixed=0.01), admitted=1003.0).due() < poster.due()  # though it came three seconds later


@looping
def test_equal_work_is_due_in_order_of_arrival() -> None:
    subject = model(fixed=0.1)
    assert job(subject, admitted=1000.0).due() < job(subject, admitted=1000.1).due()


@looping
def test_every_job_is_due_some_seconds_after_its_latest_tile() -> None:
    poster = job(model(**SECOND_PER_TILE), 100, 100)
    assert poster.due() == poster.admitted + LONGEST_PAUSE
    poster.queue(photo(0, 100, 100), promised=0.0)
    assert poster.due() == poster.touched + LONGEST_PAUSE
    queued = poster.touched
    poster.begin()
    assert poster.touched >= queued
    assert poster.due() == poster.touched + LONGEST_PAUSE


@looping
def test_bulk_is_due_later() -> None:
    small, large = model(fixed=0.1), model(**SECOND_PER_TILE)
    bulk = job(small, admitted=1000.0, priority=Priority.BULK)
    assert bulk.due() == pytest.approx(1000 + STRETCH * 0.1 + BULK_PATIENCE)
    assert job(large, 100, 100, admitted=1000.0, priority=Priority.BULK).due() == 1000 + LONGEST_PAUSE + BULK_PATIENCE
    assert job(small, admitted=1059.0).due() < bulk.due() < job(small, admitted=1061.0).due()


@pytest.mark.parametrize("priority", Priority)
def test_nearer_deadline_is_due_sooner(priority: Priority) -> None:
    @looping
    def compare() -> None:
        poster, now = model(**SECOND_PER_TILE), monotonic()
        hurried = job(poster, 50, 50, deadline=now + 13, admitted=now, priority=priority, lanes=2)
        assert hurried.due() == now + 13 - 25 / 2  # there are 25 tiles to run before it, two at a time
        assert hurried.due() < job(poster, 50, 50, admitted=now, priority=priority, lanes=2).due()
        hurried.queue(photo(0, 50, 50), promised=0.0)
        hurried.begin()
        assert hurried.due() == now + 13 - 24 / 2

    compare()


@looping
def test_one_tile_does_not_run_on_several_lanes() -> None:
    assert job(model(fixed=3.0), deadline=1004.0, admitted=1000.0, lanes=4).due() == 1001


@looping
def test_remaining_work_counts_what_is_on_the_device() -> None:
    poster = job(model(**SECOND_PER_TILE), 10, 30)
    poster.queue(photo(0, 10, 30), promised=0.0)
    piece = poster.begin()
    poster.expect(piece.tile, 4.0, 1)
    now = poster.running[piece.tile].end - 4.0
    assert poster.remaining(now) == pytest.approx(2 + 4)
    assert poster.remaining(now + 3) == pytest.approx(2 + 1)
    assert poster.remaining(now + 9) == pytest.approx(2)  # the prediction was wrong: it must be done any moment
    poster.end(piece.tile, 5.0)
    assert poster.remaining(now) == pytest.approx(2)


@looping
def test_tiles_that_share_a_pass_share_its_time() -> None:
    poster = job(model(**SECOND_PER_TILE), 10, 30)
    poster.queue(photo(0, 10, 30), promised=0.0)
    tiles = [poster.begin().tile for _ in range(3)]
    for tile in tiles:
        poster.expect(tile, 6.0, 3)
    assert poster.remaining(poster.running[tiles[0]].end - 3.0) == pytest.approx(3.0, abs=0.01)


@looping
def test_work_of_a_tile_is_its_share_of_a_full_pass() -> None:
    """Squares of 10 pixels a side, of which four are a pass, whether there are as many or not: it takes 5 s."""
    subject = model(tile=100, fixed=1.0, per_pixel=0.01, batch=400, ladder=(10,))
    one, six = job(subject, 10, 10, lanes=2), job(subject, 20, 30, lanes=2)
    assert one.work == pytest.approx(5 / 4)
    assert six.work == pytest.approx(6 * 5 / 4)
    assert one.least_seconds() == pytest.approx(5)
    assert six.least_seconds() == pytest.approx(5)  # two passes side by side
    six.lanes = 1
    assert six.least_seconds() == pytest.approx(10)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), height=st.integers(1, 60), width=st.integers(1, 60), fixed=st.floats(0, 9))
def test_sums_are_those_of_the_tiles_that_wait(data: st.DataObject, height: int, width: int, fixed: float) -> None:
    @looping
    def compare() -> None:
        subject = model(tile=100, fixed=fixed, per_pixel=0.01)
        poster = job(subject, height, width)
        poster.queue(photo(0, height, width), promised=0.0)
        while True:
            expected = sum(subject.cost.seconds(tile.pixels) for tile in poster.tiles)
            assert poster.waiting_seconds == pytest.approx(expected)
            assert poster.least_seconds() == pytest.approx(expected)
            if not poster.tiles:
                break
            action = data.draw(st.sampled_from(["begin"] * 8 + ["measure", "queue", "drop"]))
            if action == "measure":
                subject.cost.measured(100, data.draw(st.floats(0.1, 10)))
            elif action == "queue":
                poster.queue(photo(0, height, width), promised=0.0)
            elif action == "drop":
                poster.drop()
            else:
                poster.begin()

    compare()


@looping
def test_last_tile_finishes_the_job() -> None:
    image = photo(1, 10, 30)
    poster = job(model(**SECOND_PER_TILE), 10, 30)
    poster.queue(image, promised=0.0)
    pieces = [poster.begin() for _ in range(3)]
    for piece in reversed(pieces):
        assert not poster.result.done()
        piece.canvas.paste(piece.tile, piece.canvas.cut(piece.tile))
        poster.end(piece.tile, 0.25)
    assert np.array_equal(poster.result.result(), image)
    assert poster.canvas is None
    assert poster.device_seconds == 0.75
    assert poster.admitted <= poster.queued <= poster.started <= poster.finished <= monotonic()


@looping
def test_failure_leaves_no_tile_to_run() -> None:
    poster = job(model(**SECOND_PER_TILE), 10, 30)
    poster.queue(photo(1, 10, 30), promised=0.0)
    piece = poster.begin()
    poster.fail(Draining())
    poster.fail(ValueError("too late: it was answered"))
    assert not poster.tiles
    poster.end(piece.tile, 1.0)  # the one on the device ends after that
    assert isinstance(poster.result.exception(), Draining)


@looping
def test_job_knows_where_its_time_went() -> None:
    waiting = job(model())
    assert durations([waiting]) == {"queue": 0.0}
    waiting.queued, waiting.started, waiting.finished = 1.0, 3.0, 7.0
    assert durations([waiting]) == {"queue": 2.0, "infer": 4.0}
    waiting.started = 0.0  # it failed in the queue
    assert durations([waiting]) == {"queue": 6.0}
