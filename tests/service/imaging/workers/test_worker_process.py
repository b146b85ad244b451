import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from service.imaging.workers.task import Budget, CodecTask, TaskOutcome
from service.imaging.workers.worker_process import WorkerDied, WorkerProcess
from tests.service.live import worker_launcher

SMALL, LARGE = Budget(60, 2**29), Budget(60, 2**29, is_small=False)


def with_worker(scenario: Callable[[WorkerProcess], Awaitable[None]]) -> None:
    async def run() -> None:
        worker = await WorkerProcess.start(worker_launcher())
        try:
            await scenario(worker)
        finally:
            worker.kill()
            await worker.end()

    asyncio.run(run())


def test_tasks_are_performed_one_after_the_other() -> None:
    async def scenario(worker: WorkerProcess) -> None:
        for budget in (SMALL, LARGE, SMALL):
            assert await worker.perform(CodecTask(os.getpid, (), budget)) == TaskOutcome(worker.pid)

    with_worker(scenario)


def test_death_is_told_with_its_exit_code() -> None:
    async def scenario(worker: WorkerProcess) -> None:
        for task in (CodecTask(signal.raise_signal, (signal.SIGBUS,), SMALL), CodecTask(abs, (1,), SMALL)):
            with pytest.raises(WorkerDied, match="ended with -7") as death:
                await worker.perform(task)
            assert death.value.exit_code == -signal.SIGBUS
        assert not worker.alive

    with_worker(scenario)


def test_worker_without_a_task_ends_by_itself() -> None:
    async def scenario(worker: WorkerProcess) -> None:
        assert [await worker.end(), await worker.end()] == [0, 0]
        assert not worker.alive

    with_worker(scenario)


def test_priority_is_lowered() -> None:
    async def scenario(worker: WorkerProcess) -> None:
        before = os.getpriority(os.PRIO_PROCESS, worker.pid)
        worker.lower_priority()
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) > before

    with_worker(scenario)
