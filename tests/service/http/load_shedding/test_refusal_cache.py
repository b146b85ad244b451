import pytest

from service.errors import Overloaded
from service.http.load_shedding.refusal_cache import HOLD_SECONDS, MAX_ENTRIES, RefusalCache
from service.http.load_shedding.request_class import ANY_SIZE, RequestClass, size_class, timeout_class

HERE = RequestClass(("/here", "quality=9", ""), timeout_class(15.0), default_timeout=False, size_class=size_class(1000))


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refusing(clock: Clock) -> RefusalCache:
    refusals = RefusalCache(clock=clock)
    refusals.store(Overloaded("full", retry_after=7), HERE)
    return refusals


def test_refusal_holds_for_requests_like_the_one_that_was_refused(clock: Clock) -> None:
    refusals = refusing(clock)
    refusal = refusals.find(HERE)
    assert refusal is not None
    assert (refusal.detail, refusal.retry_after, refusal.members) == ("full", 7, {"retry_after": 7})
    assert refusals.find(HERE) is refusal
    others = [
        HERE._replace(target=("/there", "quality=9", "")),
        HERE._replace(target=("/here", "quality=900", "")),
        HERE._replace(target=("/here", "quality=9", "text/*")),
        HERE._replace(timeout_class=timeout_class(60.0)),
        HERE._replace(size_class=size_class(100)),
        HERE._replace(default_timeout=True),
    ]
    assert not any(refusals.find(other) for other in others)


def test_refusal_before_the_body_was_known_holds_for_all_bodies(clock: Clock) -> None:
    refusals = RefusalCache(clock=clock)
    refusals.store(Overloaded("full"), HERE._replace(size_class=ANY_SIZE))
    assert refusals.find(HERE)
    refusals.capacity_changed()
    assert refusals.find(HERE) is None


def test_one_is_let_through_for_each_place_that_there_may_be(clock: Clock) -> None:
    refusals = refusing(clock)
    refusals.capacity_changed()
    refusals.capacity_changed()
    assert [refusals.find(HERE) is None for _ in range(4)] == [True, True, False, False]


def test_request_of_another_class_takes_no_place(clock: Clock) -> None:
    refusals = refusing(clock)
    refusals.capacity_changed()
    assert refusals.find(HERE._replace(timeout_class=timeout_class(60.0))) is None
    assert refusals.find(HERE) is None
    assert refusals.find(HERE)


def test_one_is_let_through_after_a_while_and_the_others_are_refused_meanwhile(clock: Clock) -> None:
    refusals = refusing(clock)
    for _ in range(3):
        clock.now += HOLD_SECONDS * 1.1
        assert refusals.find(HERE) is None
        assert refusals.find(HERE)
        refusals.store(Overloaded("full"), HERE)


def test_one_at_a_time_is_let_through_while_none_is_decided_on(clock: Clock) -> None:
    """Hundreds that were let through at once would keep all of them, and the answers, waiting for what each costs."""
    refusals = refusing(clock)
    for _ in range(5):
        clock.now += HOLD_SECONDS * 1.1
        assert [refusals.find(HERE) is None for _ in range(3)] == [True, False, False]
        clock.now += HOLD_SECONDS * 0.8
        assert refusals.find(HERE)


def test_request_refused_for_its_size_takes_no_place_of_all_sizes(clock: Clock) -> None:
    refusals, small = refusing(clock), HERE._replace(size_class=size_class(10))
    refusals.store(Overloaded("full"), HERE._replace(size_class=ANY_SIZE))
    refusals.capacity_changed()
    refusals.store(Overloaded("full"), HERE)
    assert refusals.find(HERE)
    assert refusals.find(small) is None
    assert refusals.find(small)


def test_new_refusal_takes_the_places_back(clock: Clock) -> None:
    refusals = refusing(clock)
    refusals.capacity_changed()
    refusals.store(Overloaded("full"), HERE)
    assert refusals.find(HERE)


def test_refusal_that_nobody_asked_for_is_forgotten(clock: Clock) -> None:
    refusals = refusing(clock)
    clock.now += HOLD_SECONDS * 2.1
    for _ in range(3):
        assert refusals.find(HERE) is None


def test_nothing_holds_when_all_is_cleared(clock: Clock) -> None:
    refusals = refusing(clock)
    refusals.refusals_invalid()
    for _ in range(3):
        assert refusals.find(HERE) is None


def test_refusal_that_holds_keeps_nothing_of_the_request(clock: Clock) -> None:
    refusals = RefusalCache(clock=clock)
    try:
        raise Overloaded("full")
    except Overloaded as refusal:
        refusals.store(refusal, HERE)
    held = refusals.find(HERE)
    assert held is not None
    assert held.__traceback__ is None


def test_refusals_that_hold_are_bounded(clock: Clock) -> None:
    refusals = RefusalCache(clock=clock)
    for number in range(3 * MAX_ENTRIES):
        request_class = HERE._replace(target=(str(number),))
        refusals.store(Overloaded("full"), request_class)
        assert refusals.find(request_class)
        assert len(refusals) <= MAX_ENTRIES
