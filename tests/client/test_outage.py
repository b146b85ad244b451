import asyncio
from time import monotonic

from client.outage import Outage


def test_outage_is_waited_out_until_patience_runs_out() -> None:
    said: list[str] = []
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def run() -> None:
        outage = Outage(60, said.append, sleep)
        now = monotonic()
        assert await outage.wait(5, now, "gone")
        assert await outage.wait(5, now + 30, "gone")
        assert await outage.wait(5, now + 59, "gone")
        assert not await outage.wait(5, now + 61, "gone")
        outage.end()
        assert await outage.wait(5, monotonic(), "gone again")

    asyncio.run(run())
    assert slept == [5, 5, 5, 5]
    assert said == ["waiting up to 60 s for the service: gone", "waiting up to 60 s for the service: gone again"]


def test_no_wait_is_longer_than_patience() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def run() -> None:
        assert await Outage(2, print, sleep).wait(10, monotonic(), "gone")

    asyncio.run(run())
    assert 0 < slept[0] <= 2
