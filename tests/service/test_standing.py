from dataclasses import replace
from time import monotonic

import pytest

from service.errors import Overloaded
from service.standing import MOST_STANDING, STANDING_SECONDS, Question, StandingRefusals

HERE = Question(("/here", "quality=9", ""), 15.0, silent=False, length=1000)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = monotonic()
        monkeypatch.setattr("service.standing.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def refusing() -> StandingRefusals:
    refusals = StandingRefusals()
    refusals.remember(Overloaded("full", headers={"Retry-After": "7"}, retry_after=7), HERE)
    return refusals


def test_refusal_stands_for_requests_like_the_one_that_was_refused(clock: Clock) -> None:
    refusals = refusing()
    refusal = refusals.of(HERE)
    assert refusal is not None
    assert (refusal.detail, refusal.headers, refusal.members) == ("full", {"Retry-After": "7"}, {"retry_after": 7})
    assert refusals.of(replace(HERE, seconds=1.0, length=5000)) is refusal
    assert refusals.of(replace(HERE, seconds=60.0)) is None  # it has more time
    assert refusals.of(replace(HERE, length=999)) is None  # its image may be smaller
    assert refusals.of(replace(HERE, silent=True)) is None
    for other in (("/there", "quality=9", ""), ("/here", "quality=900", ""), ("/here", "quality=9", "text/*")):
        assert refusals.of(replace(HERE, asked=other)) is None


def test_what_was_refused_to_a_silent_client_is_not_refused_to_one_that_says_how_long_it_waits(clock: Clock) -> None:
    refusals, silent = StandingRefusals(), replace(HERE, silent=True)
    refusals.remember(Overloaded("full"), silent)
    assert refusals.of(HERE) is None
    refusals.remember(Overloaded("full"), HERE)
    assert refusals.of(HERE)
    assert refusals.of(silent)


def test_one_is_let_in_for_each_place_that_there_may_be(clock: Clock) -> None:
    refusals = refusing()
    refusals.make_room()
    refusals.make_room()
    assert [refusals.of(HERE) is None for _ in range(4)] == [True, True, False, False]


def test_who_is_let_in_anyway_takes_no_place(clock: Clock) -> None:
    refusals = refusing()
    refusals.make_room()
    assert refusals.of(replace(HERE, seconds=60.0)) is None
    assert refusals.of(HERE) is None
    assert refusals.of(HERE)


def test_one_is_let_in_after_a_while_and_the_others_are_refused_meanwhile(clock: Clock) -> None:
    refusals = refusing()
    for _ in range(3):
        clock.now += STANDING_SECONDS * 1.1
        assert refusals.of(HERE) is None
        assert refusals.of(HERE)


def test_new_refusal_takes_the_places_back(clock: Clock) -> None:
    refusals = refusing()
    refusals.make_room()
    refusals.remember(Overloaded("full"), HERE)
    assert refusals.of(HERE)


def test_refusal_that_nobody_asked_for_is_forgotten(clock: Clock) -> None:
    refusals = refusing()
    clock.now += STANDING_SECONDS * 2.1
    for _ in range(3):
        assert refusals.of(HERE) is None


def test_nothing_stands_when_all_is_cleared(clock: Clock) -> None:
    refusals = refusing()
    refusals.clear()
    for _ in range(3):
        assert refusals.of(HERE) is None


def test_refusal_that_stands_keeps_nothing_of_the_request(clock: Clock) -> None:
    refusals = StandingRefusals()
    try:
        raise Overloaded("full")
    except Overloaded as refusal:
        refusals.remember(refusal, HERE)
    held = refusals.of(HERE)
    assert held is not None
    assert held.__traceback__ is None


def test_refusals_that_stand_are_bounded(clock: Clock) -> None:
    refusals = StandingRefusals()
    for number in range(3 * MOST_STANDING):
        question = replace(HERE, asked=(str(number),))
        refusals.remember(Overloaded("full"), question)
        assert refusals.of(question)
        assert len(refusals._held) <= MOST_STANDING
