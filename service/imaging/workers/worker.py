"""The program of a worker: one task after the other, each within its budget."""

import math
import resource
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from service.errors import OutOfResources, ServiceError
from service.imaging.codecs import configure_codecs
from service.imaging.workers.messages import receive, send
from service.imaging.workers.task import Budget, CodecTask, TaskOutcome

STATM = Path("/proc/self/statm")
"""Where Linux says how large this process is (proc(5)). Other systems do not, and memory is not limited there."""


def serve(connection: socket.socket) -> None:
    """Carry out what arrives, until the other end is closed."""
    configure_codecs()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    idle_memory = _address_space()
    while (task := receive(connection)) is not None:
        outcome = perform(task, idle_memory)
        del task
        _answer(connection, outcome)
        del outcome  # a worker that waits keeps no pixels


def _answer(connection: socket.socket, outcome: TaskOutcome) -> None:
    """Send an outcome, or that there is no room for it. Raises ConnectionError, and OSError of any other kind."""
    try:
        send(connection, outcome)
    except OSError as error:
        if (exhausted := OutOfResources.of(error)) is None:
            raise
        send(connection, TaskOutcome(failure=exhausted))


def perform(task: CodecTask, idle_memory: int | None = None) -> TaskOutcome:
    """The outcome of a task. One that takes more processor time than its budget ends the process (SIGXCPU).

    `idle_memory`: bytes of address space that the process has without it; None where memory is not limited.
    """
    try:
        with _within(task.budget, idle_memory):
            return TaskOutcome(task.function(*task.arguments))
    except MemoryError:
        return TaskOutcome(out_of_memory=True)
    except ServiceError as failure:
        if isinstance(failure.__cause__, MemoryError):
            return TaskOutcome(out_of_memory=True)
        return TaskOutcome(failure=failure.copy())
    except Exception:  # noqa: BLE001 # it is reported, and the worker serves on
        return TaskOutcome(defect=traceback.format_exc())


@contextmanager
def _within(budget: Budget, idle_memory: int | None) -> Iterator[None]:
    with ExitStack() as limits:
        limits.enter_context(_limited(resource.RLIMIT_CPU, math.ceil(time.process_time() + budget.seconds)))
        if idle_memory is not None:
            limits.enter_context(_limited(resource.RLIMIT_AS, idle_memory + budget.memory))
        yield


@contextmanager
def _limited(limit: int, value: int) -> Iterator[None]:
    """Lower the soft limit for the length of the block, within the hard one."""
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(limit, (soft, hard))


def _address_space() -> int | None:
    """Bytes of address space that this process has; None where the system does not say."""
    if not STATM.exists():
        return None
    pages = int(STATM.read_text().split()[0])
    return pages * resource.getpagesize()
