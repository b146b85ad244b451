import asyncio
import subprocess
import sys
import threading

import pytest

from service.models.store_thread import in_store_thread


def test_result_and_errors_come_back() -> None:
    def fail() -> None:
        raise LookupError("away")

    async def run() -> None:
        assert await in_store_thread(lambda: 7) == 7
        with pytest.raises(LookupError, match="away"):
            await in_store_thread(fail)

    asyncio.run(run())


def test_end_of_an_iterator_is_an_error_and_no_wait_for_ever() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(in_store_thread(lambda: next(iter(()))), 60))


def test_who_stops_waiting_leaves_the_call_to_end() -> None:
    go_on, ended = threading.Event(), threading.Event()

    def call() -> None:
        go_on.wait()
        ended.set()

    async def run() -> None:
        waiting = asyncio.create_task(in_store_thread(call))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
    go_on.set()
    assert ended.wait(60)


def test_process_ends_though_a_call_is_under_way() -> None:
    program = """
import asyncio, time
from service.models.store_thread import in_store_thread

async def run():
    asyncio.create_task(in_store_thread(lambda: time.sleep(3600)))
    await asyncio.sleep(0.1)

asyncio.run(run())
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
