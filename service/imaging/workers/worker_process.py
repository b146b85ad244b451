"""A worker as the event loop sees it: it is sent a task, answers or dies, and can be killed."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from service.imaging.workers.launcher import WorkerLauncher
from service.imaging.workers.messages import receive, send
from service.imaging.workers.task import CodecTask, TaskOutcome

LOW_PRIORITY = 10
"""Niceness of a worker whose task is long: beside others it gets a tenth of a processor (sched(7))."""


class WorkerDied(Exception):
    """The process has ended before it answered."""

    def __init__(self, exit_code: int | None) -> None:
        """`exit_code` is negative for a signal, and None where nobody knows it."""
        super().__init__(f"a codec worker has ended with {exit_code}")
        self.exit_code = exit_code


class WorkerProcess:
    """One task at a time. It belongs to the event loop in which it was made."""

    def __init__(
        self,
        launcher: WorkerLauncher,
        pid: int,
        connection: socket.socket,
        on_death: "Callable[[WorkerProcess], None]" = lambda _: None,
    ) -> None:
        """`on_death` hears when the process has ended by itself; `end` is still to be called."""
        self.pid = pid
        self._launcher = launcher
        self._connection = connection
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[TaskOutcome | None] = self._loop.create_future()
        self.alive = True
        """Whether it may be given a task."""
        self.low_priority = False
        """Whether other processes run before it; for ever, once it has."""
        self._exit_code: asyncio.Future[int | None] | None = None
        self._loop.add_reader(connection, self._on_readable)

    @classmethod
    async def start(
        cls, launcher: WorkerLauncher, on_death: "Callable[[WorkerProcess], None]" = lambda _: None
    ) -> "WorkerProcess":
        """A new worker. Raises OSError."""
        return cls(launcher, *await asyncio.to_thread(launcher.fork), on_death)

    async def perform(self, task: CodecTask) -> TaskOutcome:
        """The outcome of a task. Raises WorkerDied, or OSError where there is no memory or no descriptor for it."""
        if not self.alive:
            raise WorkerDied(await self.end())
        self._answer = self._loop.create_future()
        try:
            if task.budget.is_small:
                send(self._connection, task)
            else:
                await asyncio.to_thread(send, self._connection, task)
            outcome = await self._answer
        except ConnectionError:
            outcome = None
        finally:
            self._answer = self._loop.create_future()  # the last one would keep its pixels
        if outcome is None:
            raise WorkerDied(await self.end())
        return outcome

    def lower_priority(self) -> None:
        """Let other processes run before it."""
        self.low_priority = True
        if not self._is_awaited:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.pid, LOW_PRIORITY)

    def kill(self) -> None:
        """End it in the middle of its task, after which it gets no other one."""
        self.alive = False
        if not self._is_awaited:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def end(self) -> int | None:
        """Wait for its end, and return its exit code; it must have no task, or be dead."""
        self.alive = False
        if self._exit_code is None:
            self._loop.remove_reader(self._connection)
            self._connection.close()
            self._exit_code = asyncio.ensure_future(asyncio.to_thread(self._launcher.wait, self.pid))
        return await asyncio.shield(self._exit_code)

    @property
    def _is_awaited(self) -> bool:
        """Whether its end is waited for: its process id may then be that of another process."""
        return self._exit_code is not None

    def _on_readable(self) -> None:
        """Take an answer, or the end of the process. `end` closes the connection: a thread may be writing to it."""
        try:
            outcome = receive(self._connection)
        except Exception as error:  # noqa: BLE001 # whoever waits gets it
            self.kill()
            self._loop.remove_reader(self._connection)
            if not self._answer.done():
                self._answer.set_exception(error)
            return
        if outcome is None:
            self.alive = False
            self._loop.remove_reader(self._connection)
            self._on_death(self)
        if not self._answer.done():
            self._answer.set_result(outcome)
