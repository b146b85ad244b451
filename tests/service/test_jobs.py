import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
import pytest

from service.errors import Draining
from service.jobs import BULK_PATIENCE, LONGEST_PAUSE, STRETCH, Job, Priority
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
    poster.begin(1.0)
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
        poster = model(**SECOND_PER_TILE)
        hurried = job(poster, 50, 50, deadline=1013.0, admitted=1000.0, priority=priority, lanes=2)
        assert hurried.due() == 1013 - 25 / 2  # there are 25 tiles to run before it, two at a time
        assert hurried.due() < job(poster, 50, 50, admitted=1000.0, priority=priority, lanes=2).due()
        hurried.queue(photo(0, 50, 50), promised=0.0)
        hurried.begin(1.0)
        assert hurried.due() == 1013 - 24 / 2

    compare()


@looping
def test_one_tile_does_not_run_on_several_lanes() -> None:
    assert job(model(fixed=3.0), deadline=1004.0, admitted=1000.0, lanes=4).due() == 1001


@looping
def test_remaining_work_counts_what_is_on_the_device() -> None:
    poster = job(model(**SECOND_PER_TILE), 10, 30)
    poster.queue(photo(0, 10, 30), promised=0.0)
    piece = poster.begin(seconds=4.0)
    now = poster.touched
    assert poster.remaining(now) == pytest.approx(2 + 4)
    assert poster.remaining(now + 3) == pytest.approx(2 + 1)
    assert poster.remaining(now + 9) == pytest.approx(2)  # the prediction was wrong: it must be done any moment
    poster.end(piece.tile, 5.0)
    assert poster.remaining(now) == pytest.approx(2)


@looping
def test_last_tile_finishes_the_job() -> None:
    image = photo(1, 10, 30)
    poster = job(model(**SECOND_PER_TILE), 10, 30)
    poster.queue(image, promised=0.0)
    pieces = [poster.begin(1.0) for _ in range(3)]
    for piece in reversed(pieces):
        assert not poster.result.done()
        piece.canvas.paste(piece.tile, piece.canvas.cut(piece.tile))
        poster.end(piece.tile, 0.25)
    assert np.array_equal(poster.result.result(), image)
    assert poster.device_seconds == 0.75
    assert poster.admitted <= poster.queued <= poster.started <= poster.finished <= monotonic()


@looping
def test_failure_leaves_no_tile_to_run() -> None:
    poster = job(model(**SECOND_PER_TILE), 10, 30)
    poster.queue(photo(1, 10, 30), promised=0.0)
    piece = poster.begin(1.0)
    poster.fail(Draining())
    poster.fail(ValueError("too late: it was answered"))
    assert not poster.tiles
    poster.end(piece.tile, 1.0)  # the one on the device ends after that
    assert isinstance(poster.result.exception(), Draining)


@looping
def test_job_knows_where_its_time_went() -> None:
    waiting = job(model())
    assert waiting.durations() == {"queue": 0.0}
    waiting.queued, waiting.started, waiting.finished = 1.0, 3.0, 7.0
    assert waiting.durations() == {"queue": 2.0, "infer": 4.0}
    waiting.started = 0.0  # it failed in the queue
    assert waiting.durations() == {"queue": 6.0}
