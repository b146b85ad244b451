import asyncio

import pytest

from service.errors import TooManyUploads
from service.http.body_budget import BodyBudget, Reservation
from service.telemetry.metrics import Metrics

TOTAL = 6400
"""Of which bodies of up to 100 bytes are small, and 1600 are theirs alone."""
LARGE = 4800
"""All that large bodies can have."""
LONG = 60.0


def budget() -> BodyBudget:
    return BodyBudget(TOTAL, Metrics())


async def held(subject: BodyBudget, size: int) -> Reservation:
    """A reservation that has so many bytes."""
    reservation = subject.open()
    await subject.grow(reservation, size, LONG)
    return reservation


async def waiting(subject: BodyBudget, size: int) -> asyncio.Task[Reservation]:
    """A reservation that waits for so many bytes."""
    before = subject.waiting
    task = asyncio.create_task(held(subject, size))
    await asyncio.sleep(0)
    assert subject.waiting == before + 1
    return task


async def refused(subject: BodyBudget, reservation: Reservation, size: int) -> None:
    with pytest.raises(TooManyUploads, match=f"no room for {size} bytes") as refusal:
        await subject.grow(reservation, size, 0.01)
    assert refusal.value.retry_after


def test_bytes_are_held_until_they_are_released() -> None:
    async def main() -> None:
        subject = budget()
        first, second = await held(subject, 3000), await held(subject, 50)
        await subject.grow(first, 2000, LONG)  # it has more already
        assert subject.held == 3050
        subject.release(first)
        subject.release(first)
        assert subject.held == 50
        subject.release(second)
        assert subject.held == 0

    asyncio.run(main())


def test_body_waits_for_the_bytes_of_others() -> None:
    async def main() -> None:
        subject = budget()
        first = await held(subject, LARGE)
        second = await waiting(subject, LARGE)
        subject.release(first)
        assert (await second).size == subject.held == LARGE

    asyncio.run(main())


def test_body_that_waits_too_long_is_refused_and_blocks_nobody() -> None:
    async def main() -> None:
        subject = budget()
        await held(subject, 3000)
        ahead = subject.open()
        refusal = asyncio.create_task(refused(subject, ahead, 2000))
        await asyncio.sleep(0)
        behind = await waiting(subject, 1000)
        await refusal
        assert (await behind).size == 1000
        assert (subject.held, subject.waiting) == (4000, 0)

    asyncio.run(main())


def test_client_that_gives_up_blocks_nobody() -> None:
    async def main() -> None:
        subject = budget()
        await held(subject, 3000)
        ahead, behind = await waiting(subject, 2000), await waiting(subject, 1000)
        ahead.cancel()
        assert (await behind).size == 1000

    asyncio.run(main())


def test_large_bodies_are_served_in_order() -> None:
    async def main() -> None:
        subject = budget()
        first = await held(subject, 3000)
        second, third = await waiting(subject, 4000), await waiting(subject, 1000)
        assert not third.done()  # it would fit, but the second came first
        subject.release(first)
        subject.release(await second)
        await third

    asyncio.run(main())


def test_small_bodies_do_not_wait_for_large_ones() -> None:
    async def main() -> None:
        subject = budget()
        await held(subject, LARGE)
        await waiting(subject, LARGE)
        for _ in range(16):
            await held(subject, 100)
        await waiting(subject, 100)  # all that is theirs is taken

    asyncio.run(main())


def test_small_bodies_take_everything_while_no_large_one_waits_but_keep_none_out() -> None:
    async def main() -> None:
        subject = budget()
        small = [await held(subject, 100) for _ in range(TOTAL // 100)]
        large = await waiting(subject, LARGE)
        late = await waiting(subject, 100)
        for reservation in small[: LARGE // 100]:
            assert not large.done()
            subject.release(reservation)
        await large
        assert not late.done()
        subject.release(small[-1])
        await late

    asyncio.run(main())


def test_small_body_that_a_large_one_held_up_is_served_with_it() -> None:
    async def main() -> None:
        subject = budget()
        first = await held(subject, 4700)
        for _ in range(16):
            await held(subject, 100)
        early = subject.open()
        large = await waiting(subject, 1000)
        small = asyncio.create_task(subject.grow(early, 100, LONG))
        await asyncio.sleep(0)
        subject.release(first)
        await large
        assert early.size == 100
        await small

    asyncio.run(main())


def test_bodies_that_grow_into_each_other_end() -> None:
    async def main() -> None:
        subject = budget()
        first, second = await held(subject, 2400), await held(subject, 2400)
        growing = asyncio.create_task(subject.grow(first, 3000, LONG))
        await refused(subject, second, 3000)
        subject.release(second)
        await growing
        assert subject.held == 3000

    asyncio.run(main())


def test_body_that_grows_precedes_those_that_came_later() -> None:
    async def main() -> None:
        subject = budget()
        first, other = await held(subject, 2000), await held(subject, 2000)
        late = await waiting(subject, 1000)
        growing = asyncio.create_task(subject.grow(first, 4000, LONG))
        await asyncio.sleep(0)
        subject.release(other)
        await growing
        assert not late.done()
        subject.release(first)
        await late

    asyncio.run(main())


def test_queue_is_no_longer_than_the_budget() -> None:
    async def main() -> None:
        subject = budget()
        await held(subject, LARGE)
        for _ in range(2):
            await waiting(subject, LARGE)
        with pytest.raises(TooManyUploads):
            await subject.grow(subject.open(), LARGE, LONG)
        await held(subject, 100)

    asyncio.run(main())


def test_bytes_are_gauged() -> None:
    async def main() -> None:
        metrics = Metrics()
        subject = BodyBudget(TOTAL, metrics)
        await held(subject, LARGE)
        await waiting(subject, LARGE)
        assert metrics.registry.get_sample_value("pastiche_body_bytes") == LARGE
        assert metrics.registry.get_sample_value("pastiche_bodies_waiting") == 1

    asyncio.run(main())
