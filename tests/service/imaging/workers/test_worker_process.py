import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from service.imaging.workers.messages import message_sockets, receive, send
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


class DeathWhileSent:
    """An argument whose worker is killed when it is written, by the thread that writes it."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker

    def __reduce__(self) -> tuple[type[int], tuple[()]]:
        os.kill(self._worker.pid, signal.SIGKILL)
        while self._worker.alive:
            time.sleep(0.001)
        return int, ()


def test_death_while_a_task_is_sent_is_a_death() -> None:
    async def scenario(worker: WorkerProcess) -> None:
        with pytest.raises(WorkerDied, match="ended with -9"):
            await worker.perform(CodecTask(abs, (DeathWhileSent(worker),), LARGE))

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


def test_process_id_is_not_used_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have given it to another process."""
    used: list[int] = []

    async def scenario(worker: WorkerProcess) -> None:
        await worker.end()
        monkeypatch.setattr(os, "kill", lambda pid, _signal: used.append(pid))
        monkeypatch.setattr(os, "setpriority", lambda _which, pid, _priority: used.append(pid))
        worker.kill()
        worker.lower_priority()
        assert used == []

    with_worker(scenario)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("buffer", [4096, 2**20])
def test_messages_arrive_whatever_the_buffers_of_the_sockets_hold(
    new_loop: Callable[[], asyncio.AbstractEventLoop], buffer: int
) -> None:
    content = bytes(range(256)) * 400
    ours, theirs = message_sockets()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)

    async def scenario() -> None:
        worker = WorkerProcess(worker_launcher(), 0, ours)
        for _ in range(3):
            performing = asyncio.create_task(worker.perform(CodecTask(len, (content,), SMALL)))
            (received,) = (await asyncio.to_thread(receive, theirs)).arguments
            send(theirs, TaskOutcome(received))
            assert await performing == TaskOutcome(content)

    with ours, theirs, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())
