import asyncio

from service.jobs.signal import Signal


def test_change_between_a_look_and_a_wait_is_heard() -> None:
    async def run() -> None:
        signal = Signal()
        listener = signal.listen()
        signal.notify()
        async with asyncio.timeout(30):
            await listener.wait(None)

    asyncio.run(run())


def test_wait_ends_without_a_change() -> None:
    asyncio.run(Signal().listen().wait(0))
