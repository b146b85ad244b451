"""Ctrl-C while a command is imported."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """In the block Ctrl-C ends the process in one line, with status 130.

    For imports, which are interrupted by no KeyboardInterrupt: some libraries swallow it, and torch is half there.
    """
    if not _raises_interrupt():
        yield
        return
    previous = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _raises_interrupt() -> bool:
    """Whether Ctrl-C has its usual effect. Of a command in the background it has none."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _end(*_: object) -> None:
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    os._exit(130)
