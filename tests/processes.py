"""Commands of the project in processes of their own, which begin with everything imported: that would take seconds."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import TextIO

from tests.service.live import PATIENCE

Main = Callable[[], int]


@cache
def _context() -> ForkServerContext:
    """One fork server for all tests of a process. It ends with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["service.server"])
    return context


@dataclass(frozen=True)
class Command:
    """A command that is running."""

    process: ForkServerProcess
    stderr: TextIO

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self.process.exitcode

    def wait(self) -> int:
        """Its exit status at its end."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, "it has not ended"
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


@contextmanager
def command(main: Main, *arguments: str) -> Iterator[Command]:
    """`main` with these arguments in a process of its own, which is killed at the end of the block."""
    ours, theirs = _context().Pipe(duplex=False)
    process = _context().Process(target=_run, args=(main, arguments, theirs))
    process.start()
    theirs.close()
    with os.fdopen(os.dup(ours.fileno())) as stderr:
        ours.close()
        try:
            yield Command(process, stderr)
        finally:
            process.kill()
            process.join()
            process.close()


def _run(main: Main, arguments: tuple[str, ...], stderr: "Connection[bytes, bytes]") -> None:
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, also where the tests run under nohup
    sys.argv = [main.__module__, *arguments]
    sys.exit(main())
