from time import monotonic

import pytest

from service.errors import Overloaded
from service.question import ANY_SIZE, Question, patience_class, size_class
from service.standing import MOST_STANDING, STANDING_SECONDS, StandingRefusals

HERE = Question(("/here", "quality=9", ""), patience_class(15.0), silent=False, size=size_class(1000))


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
    assert refusals.of(HERE) is refusal
    others = [
        HERE._replace(asked=("/there", "quality=9", "")),
        HERE._replace(asked=("/here", "quality=900", "")),
        HERE._replace(asked=("/here", "quality=9", "text/*")),
        HERE._replace(patience=patience_class(60.0)),
        HERE._replace(size=size_class(100)),
        HERE._replace(silent=True),
    ]
    assert not any(refusals.of(other) for other in others)


def test_refusal_before_the_body_was_known_holds_for_all_bodies(clock: Clock) -> None:
    refusals = StandingRefusals()
    refusals.remember(Overloaded("full"), HERE._replace(size=ANY_SIZE))
    assert refusals.of(HERE)
    refusals.make_room()
    assert refusals.of(HERE) is None


def test_one_is_let_in_for_each_place_that_there_may_be(clock: Clock) -> None:
    refusals = refusing()
    refusals.make_room()
    refusals.make_room()
    assert [refusals.of(HERE) is None for _ in range(4)] == [True, True, False, False]


def test_who_is_let_in_anyway_takes_no_place(clock: Clock) -> None:
    refusals = refusing()
    refusals.make_room()
    assert refusals.of(HERE._replace(patience=patience_class(60.0))) is None
    assert refusals.of(HERE) is None
    assert refusals.of(HERE)


def test_one_is_let_in_after_a_while_and_the_others_are_refused_meanwhile(clock: Clock) -> None:
    refusals = refusing()
    for _ in range(3):
        clock.now += STANDING_SECONDS * 1.1
        assert refusals.of(HERE) is None
        assert refusals.of(HERE)
        refusals.remember(Overloaded("full"), HERE)


def test_refusal_that_nobody_confirms_ends(clock: Clock) -> None:
    refusals = refusing()
    clock.now += STANDING_SECONDS * 1.1
    assert refusals.of(HERE) is None
    clock.now += STANDING_SECONDS * 0.9
    assert refusals.of(HERE)
    clock.now += STANDING_SECONDS * 0.2
    assert [refusals.of(HERE) for _ in range(3)] == [None, None, None]
    assert not refusals


def test_who_is_refused_for_its_size_takes_no_place_of_all_sizes(clock: Clock) -> None:
    refusals, small = refusing(), HERE._replace(size=size_class(10))
    refusals.remember(Overloaded("full"), HERE._replace(size=ANY_SIZE))
    refusals.make_room()
    refusals.remember(Overloaded("full"), HERE)
    assert refusals.of(HERE)
    assert refusals.of(small) is None
    assert refusals.of(small)


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
        question = HERE._replace(asked=(str(number),))
        refusals.remember(Overloaded("full"), question)
        assert refusals.of(question)
        assert len(refusals._held) <= MOST_STANDING
