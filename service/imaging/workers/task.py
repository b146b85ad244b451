"""What a worker is asked to do, and what it answers."""

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.errors import ServiceError
from service.imaging.workers.shared_memory import read_segment, write_segment

MESSAGE = b"m"
"""What is sent with the descriptor of a segment, since a descriptor cannot travel without data."""


@dataclass(frozen=True)
class Budget:
    """What a task may use at the most."""

    seconds: float
    """Of processor time, all threads together; counted in whole ones."""
    memory: int
    """Bytes of address space, beside what an idle worker has."""
    purpose: str = "decode"
    """What it is used for, in the words of the message to the client."""
    is_small: bool = True
    """Whether the task is expected to be short."""


@dataclass(frozen=True)
class CodecTask:
    """A call of a function of a module, which the worker imports. Arguments and result can be pickled."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    budget: Budget


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended: by a value, by a failure that the client is told of, without memory, or by a defect."""

    value: Any = None
    failure: ServiceError | None = None
    out_of_memory: bool = False
    defect: str = ""
    """The traceback of an exception that nobody foresaw."""


def send(connection: socket.socket, message: CodecTask | TaskOutcome) -> None:
    """Send a message. Raises OSError where the other process has ended, or there is no memory."""
    segment = write_segment(message)
    try:
        socket.send_fds(connection, [MESSAGE], [segment])
    finally:
        os.close(segment)


def receive(connection: socket.socket) -> Any:
    """The next message, None where the other process has ended. Raises OSError where there is no descriptor for it."""
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, len(MESSAGE), 1)
    except ConnectionError:
        return None
    if not data:
        return None
    if not descriptors:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    try:
        return read_segment(descriptors[0])
    finally:
        os.close(descriptors[0])
