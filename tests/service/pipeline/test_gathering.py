import asyncio

import pytest

from service.pipeline.gathering import gather


async def result(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_results_are_in_order() -> None:
    async def run() -> list[int]:
        return await gather(result(value) for value in (3, 1, 2))

    assert asyncio.run(run()) == [3, 1, 2]


def test_where_one_fails_the_others_have_ended() -> None:
    ended = []

    async def wait() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)
        return 0

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("one")

    async def run() -> None:
        with pytest.raises(ValueError, match="one"):
            await gather([wait(), fail(), wait()])
        assert ended == [True, True]

    asyncio.run(run())
