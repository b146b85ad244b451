"""The pool with real workers, which run functions of the standard library, or those of this module."""

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import CorruptImage, Draining, ImageTooDemanding, InvalidRequest, OutOfResources
from service.imaging.workers.launcher import WorkerLauncher
from service.imaging.workers.pool import TaskTimeouts, WorkerPool
from service.imaging.workers.task import Budget, CodecTask
from tests.service.imaging.workers.functions import (
    HOURS,
    die_once,
    make_beyond_limit,
    refuse,
    touch_and_sleep,
    touch_and_wait_for,
)
from tests.service.live import worker_launcher

MIB = 2**20
HASTY = TaskTimeouts(long_task=0.01, abandoned_task=0.01)
PATIENT = TaskTimeouts(long_task=HOURS, abandoned_task=HOURS)

Scenario = Callable[[WorkerPool], Awaitable[None]]


def with_pool(scenario: Scenario, size: int = 1, timeouts: TaskTimeouts = PATIENT) -> list[str]:
    """Run a scenario with a pool, and return why its workers died."""
    deaths: list[str] = []

    async def run() -> None:
        pool = WorkerPool(size, worker_launcher(), deaths.append, timeouts)
        try:
            async with asyncio.timeout(120):
                await scenario(pool)
        finally:
            await pool.close()

    asyncio.run(run())
    return deaths


def task(function: Callable[..., Any], *arguments: Any, seconds: float = HOURS, is_long: bool = False) -> CodecTask:
    return CodecTask(function, arguments, Budget(seconds, 256 * MIB, is_long=is_long))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 # another process makes it true
        await asyncio.sleep(0.005)


def test_tasks_share_workers() -> None:
    async def scenario(pool: WorkerPool) -> None:
        assert pool.pids == []
        await pool.start()
        assert [await pool.run(task(os.getpid)) for _ in range(5)] == pool.pids * 5

    assert with_pool(scenario, size=2) == []


def segments(pid: int) -> int:
    """How many segments of shared memory a process has."""
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:pastiche")


def test_nothing_of_an_answer_is_kept() -> None:
    async def scenario(pool: WorkerPool) -> None:
        before = segments(os.getpid())
        pixels = await pool.run(task(np.zeros, 10**6))
        assert segments(os.getpid()) == before + 1
        del pixels
        await until(lambda: segments(os.getpid()) == before)
        await until(lambda: [segments(pid) for pid in pool.pids] == [0])

    with_pool(scenario)


def test_failure_is_raised() -> None:
    async def scenario(pool: WorkerPool) -> None:
        with pytest.raises(InvalidRequest, match="no") as caught:
            await pool.run(task(refuse))
        assert caught.value.members == {"param": "size"}
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            await pool.run(task(divmod, 1, 0))
        assert await pool.run(task(os.getpid)) in pool.pids

    assert with_pool(scenario) == []


def test_worker_that_was_killed_takes_nothing_with_it(tmp_path: Path) -> None:
    async def scenario(pool: WorkerPool) -> None:
        assert await pool.run(task(die_once, tmp_path / "died")) in pool.pids

    assert with_pool(scenario) == ["killed"]


def test_idle_worker_that_was_killed_is_replaced() -> None:
    async def scenario(pool: WorkerPool) -> None:
        await pool.start()
        (first,) = pool.pids
        os.kill(first, signal.SIGKILL)
        assert await pool.run(task(os.getpid)) != first

    with_pool(scenario)


def test_nothing_is_left_of_an_idle_worker_that_was_killed() -> None:
    async def scenario(pool: WorkerPool) -> None:
        await pool.start()
        (first,) = pool.pids
        os.kill(first, signal.SIGKILL)
        await until(lambda: pool.pids == [] and not Path(f"/proc/{first}").exists())

    with_pool(scenario)


@pytest.mark.parametrize(
    ("number", "error", "words", "reason"),
    [
        (signal.SIGSEGV, CorruptImage, "the codec crashed", "crash"),
        (signal.SIGKILL, ImageTooDemanding, "takes more memory than there is to decode", "killed"),
    ],
)
def test_task_that_ends_each_worker_fails_alone(
    number: signal.Signals, error: type[Exception], words: str, reason: str
) -> None:
    async def scenario(pool: WorkerPool) -> None:
        with pytest.raises(error, match=words):
            await pool.run(task(signal.raise_signal, number))
        assert await pool.run(task(abs, -7)) == 7

    assert with_pool(scenario) == [reason] * 2


def test_task_within_a_budget_of_time() -> None:
    async def scenario(pool: WorkerPool) -> None:
        with pytest.raises(ImageTooDemanding, match=r"takes more than 0.01 s of processor time to decode") as caught:
            await pool.run(task(sum, range(10**13), seconds=0.01))
        assert caught.value.members == {"max_seconds": 0.01}

    assert with_pool(scenario) == ["cpu"]


def test_task_within_a_budget_of_memory() -> None:
    async def scenario(pool: WorkerPool) -> None:
        with pytest.raises(ImageTooDemanding, match=r"takes more than 268 MB of memory to decode") as caught:
            await pool.run(task(bytearray, 300 * MIB))
        assert caught.value.members == {"max_megabytes": 268}

    assert with_pool(scenario) == []


def test_long_tasks_keep_nobody_waiting(tmp_path: Path) -> None:
    async def scenario(pool: WorkerPool) -> None:
        markers = [tmp_path / str(index) for index in range(4)]
        long = [asyncio.create_task(pool.run(task(touch_and_sleep, marker))) for marker in markers]
        await until(lambda: sum(marker.exists() for marker in markers) == 3)  # one with the slot, two beside it
        assert pool.waiting == 1
        niceness = sorted(os.getpriority(os.PRIO_PROCESS, pid) for pid in pool.pids)
        assert niceness[0] < niceness[1] == niceness[2]
        await asyncio.sleep(0.1)
        assert pool.waiting == 1
        long[0].cancel()  # one of those beside
        await until(lambda: all(marker.exists() for marker in markers))
        for other in long:
            other.cancel()
        while await pool.run(task(os.nice, 0)) != niceness[0]:  # it may take long, too, where the machine is busy
            pass

    assert set(with_pool(scenario, timeouts=HASTY)) == {"abandoned"}


def test_tasks_that_are_expected_to_be_long_share_workers_of_low_priority() -> None:
    async def scenario(pool: WorkerPool) -> None:
        short, long = task(os.getpid), task(os.getpid, is_long=True)
        workers = [await pool.run(each) for each in (short, long, short, long)]
        assert workers == workers[:2] * 2
        priorities = [os.getpriority(os.PRIO_PROCESS, pid) for pid in workers[:2]]
        assert priorities[0] < priorities[1]
        assert sorted(pool.pids) == sorted(workers[:2])

    assert with_pool(scenario) == []


def test_worker_of_a_task_that_took_long_serves_those_that_are_expected_to(tmp_path: Path) -> None:
    async def scenario(pool: WorkerPool) -> None:
        marker = tmp_path / "began"
        running = asyncio.create_task(pool.run(task(touch_and_wait_for, marker, tmp_path / "go on")))
        await until(marker.exists)
        (worker,) = pool.pids
        await until(lambda: os.getpriority(os.PRIO_PROCESS, worker) > os.getpriority(os.PRIO_PROCESS, 0))
        (tmp_path / "go on").touch()
        await running
        assert await pool.run(task(os.getpid, is_long=True)) == worker
        assert await pool.run(task(os.getpid)) != worker

    assert with_pool(scenario, timeouts=TaskTimeouts(long_task=0.01, abandoned_task=HOURS)) == []


def test_task_that_nobody_waits_for_is_ended_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(pool: WorkerPool) -> None:
        running = asyncio.create_task(pool.run(task(touch_and_sleep, tmp_path / "began")))
        await until((tmp_path / "began").exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await pool.run(task(abs, -7)) == 7

    assert with_pool(scenario, timeouts=TaskTimeouts(long_task=HOURS, abandoned_task=0.01)) == ["abandoned"]
    gc.collect()  # asyncio logs exceptions that nobody retrieved when their tasks are deleted
    assert caplog.messages == []


class SlowLauncher(WorkerLauncher):
    """Starts workers when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.forks = 0

    def fork(self) -> tuple[int, socket.socket]:
        self.asked.set()
        self.go_on.wait()
        self.forks += 1
        return super().fork()


def test_worker_that_nobody_waits_for_when_it_has_started_serves_others(tmp_path: Path) -> None:
    async def run() -> None:
        launcher = SlowLauncher()
        pool = WorkerPool(1, launcher, timeouts=TaskTimeouts(HOURS, 0.0))
        running = asyncio.create_task(pool.run(task((tmp_path / "ran").touch)))
        await until(launcher.asked.is_set)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0.01)
        launcher.go_on.set()
        assert await pool.run(task(os.getpid)) in pool.pids
        assert launcher.forks == 1
        assert not (tmp_path / "ran").exists()
        await pool.close()

    asyncio.run(asyncio.wait_for(run(), 120))


def test_short_task_that_nobody_waits_for_costs_no_worker(tmp_path: Path) -> None:
    async def scenario(pool: WorkerPool) -> None:
        await pool.start()
        before = pool.pids
        running = asyncio.create_task(pool.run(task((tmp_path / "ran").touch)))
        await until((tmp_path / "ran").exists)
        running.cancel()
        await pool.run(task(os.getpid))
        assert pool.pids == before

    assert with_pool(scenario) == []


def test_closing_ends_tasks_and_refuses_others(tmp_path: Path) -> None:
    async def scenario(pool: WorkerPool) -> None:
        running = asyncio.create_task(pool.run(task(touch_and_sleep, tmp_path / "began")))
        await until((tmp_path / "began").exists)
        (pid,) = pool.pids
        await pool.close()
        with pytest.raises(Draining):
            await running
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    with_pool(scenario)


def test_result_for_which_there_is_no_shared_memory_is_no_fault_of_the_image() -> None:
    async def scenario(pool: WorkerPool) -> None:
        with pytest.raises(OutOfResources, match="limited to 300000 bytes"):
            await pool.run(task(make_beyond_limit, 300_000))
        assert await pool.run(task(len, bytes(1000))) == 1000

    assert with_pool(scenario) == []
