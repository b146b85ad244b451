import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.types import Message, Receive

from service.errors import BodyTimeout
from service.http.upload_pace import Pace
from tests.service.live import settings

FOREVER = 1e9


def receiving(*chunks: bytes | asyncio.Event) -> Receive:
    """Receives these chunks; at an event it waits."""
    unread = list(chunks)

    async def receive() -> Message:
        chunk = unread.pop(0)
        if isinstance(chunk, asyncio.Event):
            await chunk.wait()
        return {"type": "http.request", "body": chunk, "more_body": bool(unread)}

    return receive


async def read(pace: Pace, receive: Receive, seconds: float = FOREVER) -> Sequence[bytes]:
    began = asyncio.get_running_loop().time()
    return [chunk async for chunk in pace.chunks(receive, began, seconds)]


def test_pace_is_that_of_the_settings(tmp_path: Path) -> None:
    assert Pace.of(settings(tmp_path, min_bytes_per_second=5)).bytes_per_second == 5


def test_body_that_comes_fast_enough_is_unchanged() -> None:
    assert asyncio.run(read(Pace(1.0), receiving(b"one", b"", b"two"))) == [b"one", b"", b"two"]


@pytest.mark.parametrize("sent", [[], [bytes(10**6)]])
def test_body_that_stalls_is_refused_whatever_has_come(sent: list[bytes]) -> None:
    with pytest.raises(BodyTimeout, match=r"1 bytes per second at least, on average over 0\.05 s"):
        asyncio.run(read(Pace(1.0, seconds=0.05), receiving(*sent, asyncio.Event())))


def test_trickle_is_refused() -> None:
    async def trickle() -> Message:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(BodyTimeout, match="bytes per second"):
        asyncio.run(read(Pace(10**6, seconds=0.05), trickle))


def test_large_body_must_come_faster() -> None:
    pace = Pace(100.0)
    assert pace.for_body(length=100, seconds=60) == pace
    assert pace.for_body(length=60_000, seconds=60) == Pace(500.0)


def test_body_must_have_come_in_time() -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.05 s"):
        asyncio.run(read(Pace(1.0), receiving(asyncio.Event()), seconds=0.05))


def test_time_of_the_consumer_is_not_the_clients() -> None:
    async def main() -> None:
        pace = Pace(1.0, seconds=0.5)
        async for _ in pace.chunks(receiving(*[b"x"] * 4), asyncio.get_running_loop().time(), FOREVER):
            await asyncio.sleep(0.3)

    asyncio.run(main())
