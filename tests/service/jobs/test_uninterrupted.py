import asyncio

import pytest

from service.jobs.uninterrupted import uninterrupted


async def answer() -> str:
    await asyncio.sleep(0)
    return "done"


async def fail() -> str:
    raise ValueError("unexpected")


def test_work_returns_or_raises_what_it_does() -> None:
    assert asyncio.run(uninterrupted(answer())) == "done"
    with pytest.raises(ValueError, match="unexpected"):
        asyncio.run(uninterrupted(fail()))


def test_work_of_a_caller_that_is_cancelled_is_done_before() -> None:
    done = []

    async def run() -> None:
        go_on = asyncio.Event()

        async def work() -> None:
            await go_on.wait()
            done.append("work")

        caller = asyncio.create_task(uninterrupted(work()))
        for _ in range(2):
            await asyncio.sleep(0)
            caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert done == ["work"]

    asyncio.run(run())
