"""Ctrl-C and SIGTERM as a request to stop, which a run checks between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruption(stop_requested: threading.Event | None = None) -> Iterator[threading.Event]:
    """Yield an event, the given one or a new one, that the first Ctrl-C or SIGTERM sets; a second has its usual effect.

    Where the block raises Interrupted after a signal, that gets the exit status of the signal.
    Signal handlers can be set in the main thread only; in any other thread no signal sets the event.
    """
    stop_requested = stop_requested or threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    received: list[int] = []
    previous = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request_stop(number: int, _: object) -> None:
        received.append(number)
        restore()
        stop_requested.set()

    for number in SIGNALS:
        signal.signal(number, request_stop)
    try:
        yield stop_requested
    except Interrupted as error:
        error.exit_status = 128 + received[0] if received else error.exit_status
        raise
    finally:
        restore()
