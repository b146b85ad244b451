import asyncio

import pytest
from starlette.types import Message

from service.errors import ClientGone, ServiceError
from service.http.disconnect import while_connected


def test_work_gives_its_result_while_the_client_stays() -> None:
    async def staying() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> int:
        await asyncio.sleep(0)
        return 42

    assert asyncio.run(while_connected(staying, work())) == 42


def test_failure_of_the_work_is_its_own() -> None:
    async def staying() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> int:
        raise ServiceError("failed")

    with pytest.raises(ServiceError, match="failed"):
        asyncio.run(while_connected(staying, work()))


def test_client_that_leaves_ends_the_work() -> None:
    ended: list[str] = []

    async def leaving() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    with pytest.raises(ClientGone):
        asyncio.run(while_connected(leaving, work()))
    assert ended == ["work"]


def test_cancelling_ends_the_work_and_the_watch() -> None:
    async def run() -> None:
        ended: list[str] = []

        async def forever(name: str) -> Message:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
            raise AssertionError

        waiting = asyncio.create_task(while_connected(lambda: forever("watch"), forever("work")))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert sorted(ended) == ["watch", "work"]

    asyncio.run(run())
