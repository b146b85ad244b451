import asyncio
from collections.abc import Awaitable

import pytest

from service.imaging.workers.slots import Slots


async def started(waiting: Awaitable[None]) -> "asyncio.Task[None]":
    """A task that has come as far as it can."""
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize(("total", "large"), [(1, 1), (2, 1), (4, 3)])
def test_large_tasks_leave_a_slot_to_small_ones(total: int, large: int) -> None:
    async def scenario() -> None:
        slots = Slots(total)
        tasks = [await started(slots.acquire(is_small=False)) for _ in range(total)]
        assert [task.done() for task in tasks] == [True] * large + [False] * (total - large)
        small = [await started(slots.acquire(is_small=True)) for _ in range(2)]
        assert [task.done() for task in small] == [total > large, False]
        assert slots.waiting == total - large + 1 + (total == large)
        slots.release(is_small=False)
        await asyncio.sleep(0)
        assert sum(task.done() for task in (*tasks, *small)) == total + 1
        for task in (*tasks, *small):
            task.cancel()

    asyncio.run(scenario())


def test_first_come_is_first_served() -> None:
    async def scenario() -> None:
        slots = Slots(1)
        await slots.acquire(is_small=True)
        kinds = (False, True, False, True)
        waiting = [await started(slots.acquire(is_small=kind)) for kind in kinds]
        for turn, kind in enumerate((True, *kinds[:-1])):
            slots.release(is_small=kind)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [task.done() for task in waiting] == [index <= turn for index in range(4)]

    asyncio.run(scenario())


@pytest.mark.parametrize("is_small", [True, False])
def test_slot_of_a_waiter_that_gave_up_is_not_lost(is_small: bool) -> None:
    async def scenario() -> None:
        slots = Slots(1)
        await slots.acquire(is_small=is_small)
        before, at_once = [await started(slots.acquire(is_small=is_small)) for _ in range(2)]
        before.cancel()
        await asyncio.sleep(0)
        assert slots.waiting == 1
        slots.release(is_small=is_small)
        at_once.cancel()  # in the same turn in which it got its slot
        await asyncio.gather(before, at_once, return_exceptions=True)
        await asyncio.wait_for(slots.acquire(is_small=is_small), 10)

    asyncio.run(scenario())


@pytest.mark.parametrize("is_small", [True, False])
def test_slot_is_freed_while_one_that_waits_is_cancelled(is_small: bool) -> None:
    """Its task has not run yet, so that it is still in the queue."""

    async def scenario() -> None:
        slots = Slots(1)
        await slots.acquire(is_small=is_small)
        leaving, staying = [await started(slots.acquire(is_small=is_small)) for _ in range(2)]
        leaving.cancel()
        slots.release(is_small=is_small)
        await asyncio.wait((leaving, staying))
        assert leaving.cancelled()
        assert staying.exception() is None
        slots.release(is_small=is_small)
        await slots.acquire(is_small=is_small)

    asyncio.run(scenario())
