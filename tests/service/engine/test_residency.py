import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack, suppress

import pytest

from service.engine.residency import Place, Residency, ResidencyLimits
from service.telemetry.metrics import Metrics


class Style:
    """Weights whose moves are remembered, and can be held up or fail."""

    def __init__(self, name: str, size: int = 1, place: Place = Place.DEVICE) -> None:
        self.name, self.bytes, self.place = name, size, place
        self.moves: list[Place] = []
        self.may_move = asyncio.Event()
        self.may_move.set()
        self.fault: Exception | None = None
        self.unreachable: Place | None = None

    async def move(self, place: Place) -> None:
        await self.may_move.wait()
        if self.fault is not None:
            raise self.fault
        if place is self.unreachable:
            raise OSError(f"no room on the {place}")
        self.moves.append(place)
        self.place = place


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def styles(names: str, size: int = 1) -> list[Style]:
    return [Style(name, size) for name in names]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def use(residency: Residency, *weights: Style) -> None:
    for each in weights:
        async with residency.hold(each):
            assert each.place is Place.DEVICE


async def hold_until(residency: Residency, weights: Style, done: asyncio.Event) -> None:
    async with residency.hold(weights):
        await done.wait()


def run(scenario: Callable[[Residency], Awaitable[None]], device: int = 2, host: int = 0) -> None:
    async def main() -> None:
        await scenario(Residency(ResidencyLimits(device, host), Metrics(), Clock()))

    asyncio.run(main())


def test_least_recently_used_leaves_the_device_for_the_host_and_then_for_the_disk() -> None:
    async def scenario(residency: Residency) -> None:
        a, b, c, d = styles("abcd")
        for each in (a, b, c, d):
            await residency.add(each)
        assert (residency.held(Place.DEVICE), residency.held(Place.HOST)) == (2, 1)
        assert [each.place for each in (a, b, c, d)] == [Place.DISK, Place.HOST, Place.DEVICE, Place.DEVICE]
        await use(residency, c, a)
        assert [each.place for each in (a, b, c, d)] == [Place.DEVICE, Place.DISK, Place.DEVICE, Place.HOST]

    run(scenario, host=1)


def test_without_room_on_the_host_weights_go_to_the_disk() -> None:
    async def scenario(residency: Residency) -> None:
        a, b, c = styles("abc")
        for each in (a, b, c):
            await residency.add(each)
        assert (a.moves, residency.held(Place.DEVICE)) == ([Place.DISK], 2)

    run(scenario)


def test_weights_that_cannot_move_to_the_host_go_to_the_disk() -> None:
    async def scenario(residency: Residency) -> None:
        victim, cold = Style("victim"), Style("cold", place=Place.DISK)
        await residency.add(victim)
        victim.unreachable = Place.HOST
        await use(residency, cold)
        assert victim.moves == [Place.DISK]
        assert (residency.held(Place.DEVICE), residency.held(Place.HOST)) == (1, 0)

    run(scenario, device=1, host=1)


def test_cold_style_waits_for_its_load_and_others_go_on() -> None:
    async def scenario(residency: Residency) -> None:
        warm, cold = Style("warm"), Style("cold", place=Place.DISK)
        for each in (warm, cold):
            await residency.add(each)
        cold.may_move.clear()
        waiting = [asyncio.create_task(use(residency, cold)) for _ in range(3)]
        await settle()
        await use(residency, warm)
        assert not any(task.done() for task in waiting)
        cold.may_move.set()
        await asyncio.gather(*waiting)
        assert cold.moves == [Place.DEVICE]

    run(scenario)


def test_what_is_in_use_stays_and_who_needs_its_room_waits() -> None:
    async def scenario(residency: Residency) -> None:
        a, b, cold = Style("a"), Style("b"), Style("cold", place=Place.DISK)
        for each in (a, b, cold):
            await residency.add(each)
        done = asyncio.Event()
        users = [asyncio.create_task(hold_until(residency, each, done)) for each in (a, b)]
        waiting = asyncio.create_task(use(residency, cold))
        await settle()
        assert (a.moves, b.moves, cold.place) == ([], [], Place.DISK)
        done.set()
        await asyncio.gather(*users, waiting)
        assert residency.held(Place.DEVICE) == 2

    run(scenario)


def test_what_is_kept_stays_though_nobody_holds_it_any_more() -> None:
    async def scenario(residency: Residency) -> None:
        a, cold = Style("a"), Style("cold", place=Place.DISK)
        for each in (a, cold):
            await residency.add(each)
        with ExitStack() as kept:
            async with residency.hold(a):
                kept.enter_context(residency.keep(a))
            waiting = asyncio.create_task(use(residency, cold))
            await settle()
            assert a.moves == []
        await waiting
        assert a.moves == [Place.DISK]

    run(scenario, device=1)


@pytest.mark.parametrize("begin", [Residency.add, use])
def test_what_comes_while_others_are_in_use_exceeds_the_limit_no_longer_than_that(
    begin: Callable[[Residency, Style], Coroutine[None, None, None]],
) -> None:
    async def scenario(residency: Residency) -> None:
        a, b, new = styles("abn")
        for each in (a, b):
            await residency.add(each)
        done = asyncio.Event()
        users = [asyncio.create_task(hold_until(residency, each, done)) for each in (a, b)]
        await settle()
        await begin(residency, new)
        await settle()
        done.set()
        await asyncio.gather(*users)
        await settle()
        assert residency.held(Place.DEVICE) == 2

    run(scenario)


@pytest.mark.parametrize("begin", [Residency.add, use])
def test_load_that_waits_for_room_goes_on_when_new_weights_come(
    begin: Callable[[Residency, Style], Coroutine[None, None, None]],
) -> None:
    async def scenario(residency: Residency) -> None:
        running, cold, new = Style("running"), Style("cold", place=Place.DISK), Style("new")
        done = asyncio.Event()
        tasks = [asyncio.create_task(hold_until(residency, running, done))]
        for coming in (use(residency, cold), begin(residency, new)):
            await settle()
            tasks.append(asyncio.create_task(coming))
        await settle()
        assert cold.moves == []
        done.set()
        await settle()
        assert all(task.done() for task in tasks)
        assert cold.moves[0] is Place.DEVICE
        assert residency.held(Place.DEVICE) <= 1

    run(scenario, device=1)


def test_weights_that_are_new_are_used_while_others_leave_for_them() -> None:
    async def scenario(residency: Residency) -> None:
        victim, new = Style("victim"), Style("new")
        await residency.add(victim)
        victim.may_move.clear()
        done = asyncio.Event()
        using = asyncio.create_task(hold_until(residency, new, done))
        await settle()
        done.set()
        await settle()
        assert using.done()
        assert (new.moves, victim.moves) == ([], [])
        victim.may_move.set()
        await settle()
        assert victim.moves == [Place.DISK]

    run(scenario, device=1)


def test_what_is_larger_than_the_limit_is_used_alone() -> None:
    async def scenario(residency: Residency) -> None:
        small, large = Style("small"), Style("large", 10, Place.DISK)
        for each in (small, large):
            await residency.add(each)
        await use(residency, large, small)
        assert (small.place, large.place) == (Place.DEVICE, Place.DISK)

    run(scenario)


def test_what_is_larger_than_the_limit_stays_when_it_is_added() -> None:
    async def scenario(residency: Residency) -> None:
        small, large = Style("small"), Style("large", 10)
        for each in (small, large):
            await residency.add(each)
        assert (small.place, large.place) == (Place.DISK, Place.DEVICE)

    run(scenario)


def test_failed_load_fails_those_who_wait_and_the_next_one_tries_again() -> None:
    async def scenario(residency: Residency) -> None:
        cold = Style("cold", place=Place.DISK)
        cold.fault = OSError("the disk is gone")
        for _ in range(2):
            with pytest.raises(OSError, match="gone"):
                await use(residency, cold)
        assert residency.held(Place.DEVICE) == 0
        cold.fault = None
        await use(residency, cold)
        assert residency.held(Place.DEVICE) == 1

    run(scenario)


def test_client_that_leaves_leaves_the_load_to_others() -> None:
    async def scenario(residency: Residency) -> None:
        cold = Style("cold", place=Place.DISK)
        cold.may_move.clear()
        leaving, staying = (asyncio.create_task(use(residency, cold)) for _ in range(2))
        await settle()
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        cold.may_move.set()
        await staying
        assert cold.moves == [Place.DEVICE]

    run(scenario)


def test_who_leaves_while_room_is_made_leaves_the_eviction_to_go_on() -> None:
    async def scenario(residency: Residency) -> None:
        victim, old = Style("victim"), Style("old")
        await residency.add(victim)
        for begin in (residency.add(old), hold_until(residency, old, asyncio.Event())):
            victim.may_move.clear()
            leaving = asyncio.create_task(begin)
            await settle()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            victim.may_move.set()
            await settle()
            assert (victim.place, residency.held(Place.DEVICE)) == (Place.DISK, 0)
            await use(residency, victim)
        assert victim.moves == [Place.DISK, Place.DEVICE] * 2

    run(scenario, device=1)


def test_weights_that_are_asked_for_while_they_leave_come_back() -> None:
    async def scenario(residency: Residency) -> None:
        a, b, c = Style("a"), Style("b"), Style("c", place=Place.DISK)
        for each in (a, b, c):
            await residency.add(each)
        a.may_move.clear()
        loading = asyncio.create_task(use(residency, c))
        await settle()
        again = asyncio.create_task(use(residency, a))
        await settle()
        a.may_move.set()
        await asyncio.gather(loading, again)
        assert a.moves == [Place.DISK, Place.DEVICE]
        assert residency.held(Place.DEVICE) == 2

    run(scenario)


def test_weights_that_wait_for_room_on_the_host_are_not_used_meanwhile() -> None:
    async def scenario(residency: Residency) -> None:
        oldest, leaving, other = styles("abc", 10)
        for each in (oldest, leaving, other):
            await residency.add(each)
        done = asyncio.Event()
        oldest.may_move.clear()
        loading = asyncio.create_task(use(residency, Style("cold", 10, Place.DISK)))
        await settle()
        using = asyncio.create_task(hold_until(residency, leaving, done))
        await settle()
        oldest.may_move.set()
        await loading
        await settle()
        assert (leaving.place, leaving.moves) == (Place.DEVICE, [Place.HOST, Place.DEVICE])
        done.set()
        await using
        assert residency.held(Place.DEVICE) == 20

    run(scenario, device=20, host=10)


def test_weights_that_are_forgotten_while_they_wait_for_room_on_the_host_are_counted_once() -> None:
    async def scenario(residency: Residency) -> None:
        oldest, leaving, other = styles("abc", 10)
        for each in (oldest, leaving, other):
            await residency.add(each)
        oldest.may_move.clear()
        loading = asyncio.create_task(use(residency, Style("cold", 10, Place.DISK)))
        await settle()
        residency.forget(leaving)
        oldest.may_move.set()
        await loading
        assert (residency.held(Place.DEVICE), residency.held(Place.HOST)) == (20, 0)

    run(scenario, device=20, host=10)


def test_forgotten_weights_are_counted_until_nobody_uses_them() -> None:
    async def scenario(residency: Residency) -> None:
        old, idle = styles("oi")
        for each in (old, idle):
            await residency.add(each)
        done = asyncio.Event()
        user = asyncio.create_task(hold_until(residency, old, done))
        await settle()
        for each in (old, idle):
            residency.forget(each)
        assert residency.held(Place.DEVICE) == 1
        done.set()
        await user
        assert residency.held(Place.DEVICE) == 0

    run(scenario)


def test_forgotten_weights_that_are_used_once_more_are_kept_no_longer_than_that() -> None:
    async def scenario(residency: Residency) -> None:
        old = Style("old")
        await residency.add(old)
        residency.forget(old)
        async with residency.hold(old):
            assert residency.held(Place.DEVICE) == 1
        assert residency.held(Place.DEVICE) == 0
        kept = weakref.ref(old)
        del old
        assert kept() is None

    run(scenario)


def test_weights_that_are_forgotten_while_room_is_made_for_them_can_be_used() -> None:
    async def scenario(residency: Residency) -> None:
        first, second = styles("ab")
        await residency.add(first)
        first.may_move.clear()
        done = asyncio.Event()
        using = asyncio.create_task(hold_until(residency, second, done))
        await settle()
        residency.forget(second)
        first.may_move.set()
        await settle()
        assert (residency.held(Place.DEVICE), second.moves) == (1, [])
        done.set()
        await using
        assert residency.held(Place.DEVICE) == 0

    run(scenario, device=1)


def test_weights_for_which_no_room_can_be_made_are_not_counted() -> None:
    async def scenario(residency: Residency) -> None:
        first, second = styles("ab")
        await residency.add(first)
        first.fault = OSError("the memory is full")
        with pytest.raises(OSError, match="full"):
            await residency.add(second)
        assert residency.held(Place.DEVICE) == 1

    run(scenario, device=1)


def test_time_of_loads_is_known_after_the_first_one() -> None:
    async def scenario(residency: Residency) -> None:
        warm, cold, other = Style("warm"), Style("cold", place=Place.DISK), Style("other", place=Place.DISK)
        for each in (warm, cold, other):
            await residency.add(each)
        assert residency.load_seconds(other) == 0
        await use(residency, cold)
        assert residency.load_seconds(other) == 1.0
        assert residency.load_seconds(cold) == 0
        assert residency.load_seconds(Style("unknown")) == 0

    run(scenario)


def test_loads_are_waited_for_one_by_one() -> None:
    async def scenario(residency: Residency) -> None:
        first, second, third = (Style(name, place=Place.DISK) for name in "abc")
        for each in (first, second, third):
            await residency.add(each)
        await use(residency, first)
        second.may_move.clear()
        loading = asyncio.create_task(use(residency, second))
        await settle()
        assert (residency.load_seconds(second), residency.load_seconds(third)) == (1.0, 2.0)
        second.may_move.set()
        await loading
        assert residency.load_seconds(third) == 1.0

    run(scenario)
