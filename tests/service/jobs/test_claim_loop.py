import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.jobs.claim_loop import ClaimLoop
from service.jobs.refusals import jobs_unavailable


class Work:
    """Numbers that are claimed one after the other, and carried out when they are let go on."""

    def __init__(self, count: int) -> None:
        self.waiting = list(range(count))
        self.given_back: list[int] = []
        self.done: list[int] = []
        self.running = 0
        self.most = 0
        self.go_on, self.idle = asyncio.Event(), asyncio.Event()

    async def claim(self) -> int | None:
        if not self.waiting:
            self.idle.set()
            return None
        return self.waiting.pop(0)

    async def carry_out(self, number: int) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go_on.wait()
            self.done.append(number)
        except asyncio.CancelledError:
            self.given_back.append(number)
            raise
        finally:
            self.running -= 1

    async def give_back(self, number: int) -> None:
        self.given_back.append(number)

    def loop(self, most: int, claim: Callable[[], Awaitable[int | None]] | None = None) -> ClaimLoop[int]:
        return ClaimLoop(most, claim or self.claim, self.carry_out, self.give_back, lambda: None)


def test_no_more_is_claimed_than_is_carried_out() -> None:
    async def run() -> None:
        work = Work(5)
        loop = work.loop(2)
        loop.start()
        work.go_on.set()
        await work.idle.wait()
        await loop.stop()
        assert (sorted(work.done), work.given_back) == ([0, 1, 2, 3, 4], [])
        assert work.most <= 2

    asyncio.run(run())


def test_work_that_comes_later_is_claimed_when_the_loop_is_woken() -> None:
    async def run() -> None:
        work = Work(0)
        loop = work.loop(2)
        loop.start()
        await work.idle.wait()
        work.idle.clear()
        work.go_on.set()
        work.waiting.append(7)
        loop.wake()
        await work.idle.wait()
        await loop.stop()
        assert work.done == [7]

    asyncio.run(run())


def test_stop_gives_everything_back() -> None:
    async def run() -> None:
        work = Work(2)
        asking, answer = asyncio.Event(), asyncio.Event()

        async def slowly() -> int | None:
            if len(work.waiting) == 1:
                asking.set()
                await answer.wait()
            return await work.claim()

        loop = work.loop(9, slowly)
        loop.start()
        await asking.wait()
        stopping = asyncio.create_task(loop.stop())
        await asyncio.sleep(0)
        answer.set()
        await stopping
        assert (sorted(work.given_back), work.done) == ([0, 1], [])

    asyncio.run(run())


@pytest.mark.parametrize("failure", [jobs_unavailable("away", 5), ValueError("unexpected")])
def test_store_that_fails_is_asked_again(failure: Exception) -> None:
    async def run() -> None:
        work = Work(1)
        failures, failed = [failure], asyncio.Event()

        async def claim() -> int | None:
            if failures:
                failed.set()
                raise failures.pop()
            return await work.claim()

        loop = work.loop(1, claim)
        loop.start()
        await failed.wait()
        loop.wake()
        work.go_on.set()
        await work.idle.wait()
        await loop.stop()
        assert work.done == [0]

    asyncio.run(run())


@pytest.mark.parametrize("failure", [jobs_unavailable("away", 5), ValueError("unexpected")])
def test_claim_that_cannot_be_given_back_does_not_fail_a_stop(failure: Exception) -> None:
    async def run() -> None:
        work, asked, answer = Work(1), asyncio.Event(), asyncio.Event()
        refused: list[int] = []

        async def claim() -> int | None:
            asked.set()
            await answer.wait()
            return await work.claim()

        async def give_back(number: int) -> None:
            refused.append(number)
            raise failure

        loop = ClaimLoop(1, claim, work.carry_out, give_back, lambda: None)
        loop.start()
        await asked.wait()
        loop.close()
        answer.set()
        await loop.stop()
        assert (refused, work.done) == ([0], [])

    asyncio.run(run())
