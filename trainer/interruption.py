"""Ctrl-C and SIGTERM as a wish, which a run grants between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second has its usual effect.

    Signals arrive in the main thread alone; elsewhere the event is never set.
    """
    wish = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, usual in before.items():
            signal.signal(number, usual)

    def note(*_: object) -> None:
        restore()
        wish.set()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        restore()
