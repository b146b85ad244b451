"""The timers of the pool. The test plays its workers, to answer in the iteration of the loop that it wants."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from service.imaging.workers.launcher import WorkerLauncher
from service.imaging.workers.messages import message_sockets, receive, send
from service.imaging.workers.pool import TaskTimeouts, WorkerPool
from service.imaging.workers.task import Budget, CodecTask, TaskOutcome
from tests.service.imaging.workers.functions import HOURS

TASK = CodecTask(os.getpid, (), Budget(HOURS, 2**28))
NO_PROCESS = 2**30
"""More than the greatest process id of the system."""


class PlayedLauncher(WorkerLauncher):
    """Its workers are sockets of the test."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack
        self.ends: list[socket.socket] = []

    def fork(self) -> tuple[int, socket.socket]:
        ours, theirs = map(self._stack.enter_context, message_sockets())
        self.ends.append(theirs)
        return NO_PROCESS + len(self.ends), ours


def played(scenario: Callable[[WorkerPool, PlayedLauncher], Awaitable[None]], timeouts: TaskTimeouts) -> None:
    async def run(launcher: PlayedLauncher) -> None:
        pool = WorkerPool(1, launcher, timeouts=timeouts)
        async with asyncio.timeout(120):
            await scenario(pool, launcher)
            for end in launcher.ends:
                end.close()
            await pool.close()

    with ExitStack() as stack:
        asyncio.run(run(PlayedLauncher(stack)))


async def iterations(count: int) -> None:
    """Let so many iterations of the loop go by."""
    for _ in range(count):
        await asyncio.sleep(0)


async def begun(pool: WorkerPool, launcher: PlayedLauncher, worker: int) -> asyncio.Task[int]:
    """A client whose task this worker has received."""
    client = asyncio.create_task(pool.run(TASK))
    while len(launcher.ends) <= worker:  # noqa: ASYNC110 # a thread adds it
        await asyncio.sleep(0)
    await asyncio.to_thread(receive, launcher.ends[worker])
    return client


@pytest.mark.parametrize("order", ["leave answer", "leave wait answer", "answer leave", "answer wait leave"])
def test_worker_that_is_killed_for_a_client_that_left_serves_nobody_else(
    monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Its answer is read in each of the iterations around the one in which it may be killed."""
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _signal: killed.append(pid))

    async def scenario(pool: WorkerPool, launcher: PlayedLauncher) -> None:
        client = await begun(pool, launcher, 0)
        for step in order.split():
            if step == "leave":
                client.cancel()
            elif step == "answer":
                send(launcher.ends[0], TaskOutcome(1))
            else:
                await iterations(1)
        await iterations(5)
        assert not {*killed} & {*pool.pids}

    played(scenario, TaskTimeouts(HOURS, 0.0))


def test_task_that_ends_when_it_is_to_be_set_aside_frees_one_slot() -> None:
    """The first and the second are set aside; the third is to be in the iteration in which it ends, after the first."""

    async def scenario(pool: WorkerPool, launcher: PlayedLauncher) -> None:
        clients = [await begun(pool, launcher, worker) for worker in range(3)]
        send(launcher.ends[0], TaskOutcome(1))
        await iterations(1)
        send(launcher.ends[2], TaskOutcome(1))
        await iterations(10)
        send(launcher.ends[1], TaskOutcome(1))
        await asyncio.gather(*clients)
        more = [asyncio.create_task(pool.run(TASK)) for _ in range(4)]
        while len(pool.pids) < 4:  # noqa: ASYNC110 # threads start them; one of low priority is idle
            await asyncio.sleep(0)
        assert pool.waiting == 1
        for client in more:
            client.cancel()

    played(scenario, TaskTimeouts(long_task=0.0, abandoned_task=0.0))
