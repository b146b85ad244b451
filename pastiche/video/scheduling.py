"""How the threads of this process are scheduled, which an encoder may change."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREADS = Path("/proc/self/task")


@contextmanager
def unchanged_scheduling() -> Iterator[None]:
    """Give threads that have real-time priority after the block the scheduling that this one had before, on Linux.

    Where it may, as root, SVT-AV1 takes the highest one for its threads, and for the one that opens it: everything else
    on the machine then waits for them, also the processes that this one starts later.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in (int(entry.name) for entry in THREADS.iterdir()):
            with suppress(ProcessLookupError):  # it has ended
                if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                    os.sched_setscheduler(thread, policy, parameters)
