"""The parent of several serving processes: takes their port, starts them, and replaces one that ends.

Each is a whole service, with an event loop, an interpreter and networks of its own; the system spreads connections over
them. The parent computes nothing, and imports no torch.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Protocol

from service.http.listeners import address_of, open_listener, open_metrics_listener
from service.membership import Membership
from service.settings import Settings
from service.stop_signals import kills, stop_signals
from service.telemetry import log

WRONG_SETTINGS = 2
"""Exit status of a process that refuses its settings; where the first one of a place does, all end."""

LEAST_WAIT, MOST_WAIT = 1.0, 30.0
"""Seconds before a process that has ended is started again: twice as many each time, unless it lasted for the most."""

logger = logging.getLogger(__name__)


def supervise(settings: Settings, arguments: Sequence[str]) -> int:
    """Serve in `settings.processes` processes with this command line, until a signal.

    The exit status is 0 after a signal, 1 where the port cannot be opened, 2 where a process refuses its settings.
    """
    log.configure(settings.log_level, settings.log_format)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="pastiche-", ignore_cleanup_errors=True)))
        lifeline = stack.enter_context(_lifeline())
        try:
            listener = stack.enter_context(open_listener(settings))
            metrics_listener = open_metrics_listener(settings)
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        if metrics_listener is not None:
            stack.enter_context(metrics_listener)
        if settings.uds is not None:
            stack.callback(settings.uds.unlink, missing_ok=True)
        logger.info("%d processes serve %s", settings.processes, address_of(listener))
        launcher = Launcher(arguments, settings.processes, folder, listener, metrics_listener, lifeline)
        return asyncio.run(Supervisor(launcher, settings.processes).run())


@contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe that nobody writes to: it is at its end when this process has ended, however."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


class Starter(Protocol):
    """Starts serving processes."""

    async def start(self, index: int) -> asyncio.subprocess.Process:
        """The process with this index."""


@dataclass(frozen=True)
class Launcher:
    """Starts serving processes for the port to which `listener` is bound, and for that of `metrics_listener`."""

    arguments: Sequence[str]
    """Of the command line."""
    count: int
    folder: Path
    listener: socket.socket
    metrics_listener: socket.socket | None
    lifeline: int

    async def start(self, index: int) -> asyncio.subprocess.Process:
        """The process with this index. It has a session of its own: a terminal's signals reach the parent alone."""
        is_unix = self.listener.family == socket.AF_UNIX
        membership = Membership(
            index=index,
            count=self.count,
            folder=self.folder,
            port=0 if is_unix else self.listener.getsockname()[1],
            metrics_port=None if self.metrics_listener is None else self.metrics_listener.getsockname()[1],
            unix_listener=self.listener.fileno() if is_unix else None,
            lifeline=self.lifeline,
        )
        program = (sys.executable, "-m", "service.member", membership.model_dump_json())
        inherited = [self.lifeline, *([self.listener.fileno()] if is_unix else ())]
        return await asyncio.create_subprocess_exec(
            *program, *self.arguments, pass_fds=inherited, start_new_session=True
        )


class Supervisor:
    """Keeps serving processes running."""

    def __init__(self, launcher: Starter, count: int) -> None:
        self._launcher = launcher
        self._count = count
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._killing = False
        self._status = 0

    async def run(self) -> int:
        """Keep them running until a signal, and wait for their end. A second signal kills. Returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._on_signal, number)
        await asyncio.gather(*(self._keep(index) for index in range(self._count)))
        return self._status

    async def _keep(self, index: int) -> None:
        """Run a process, and another one in its place when it ends, until all are to stop."""
        wait, is_first = LEAST_WAIT, True
        while not self._stopping.is_set():
            began = monotonic()
            status = await self._run(index)
            if is_first and status == WRONG_SETTINGS:
                self._status = WRONG_SETTINGS
                self._stop()
            if self._stopping.is_set():
                return
            wait = LEAST_WAIT if monotonic() - began > MOST_WAIT else wait
            logger.error("process %d has ended with status %d; another one starts in %.0f s", index, status, wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait, is_first = min(2 * wait, MOST_WAIT), False

    async def _run(self, index: int) -> int:
        """The exit status of a process, negative for a signal; 1 where it cannot be started."""
        try:
            process = self._processes[index] = await self._launcher.start(index)
        except OSError:
            logger.exception("process %d cannot be started", index)
            return 1
        if self._stopping.is_set():  # while it was started
            self._end(process)
        try:
            return await process.wait()
        finally:
            del self._processes[index]

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set():
            if not kills(number):
                return
            self._status, self._killing = 128 + number, True
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        for process in self._processes.values():
            self._end(process)

    def _end(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):  # it has ended by itself
            if self._killing:
                process.kill()
            else:
                process.terminate()
