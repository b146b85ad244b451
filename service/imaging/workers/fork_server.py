"""The program that forks workers: it has imported the codecs, so that a worker starts in milliseconds.

It has one thread and imports no torch. `WorkerLauncher` starts it, and talks to it through a socket.
"""

import os
import signal
import socket
import struct
import sys
import traceback
from typing import NoReturn

from service.imaging.workers.preload import preload
from service.imaging.workers.worker import serve
from service.stop_signals import stop_signals

FORK, WAIT = b"F", b"W"
"""Commands: fork a worker for the socket that is sent along, and answer its process id; wait for the end of the worker
whose process id follows, and answer its exit code."""

NUMBER = struct.Struct("<q")

UNKNOWN = -(2**32)
"""In place of the exit code of a process that is no worker of this fork server."""


def main() -> None:
    """Serve on the socket whose descriptor is the first argument, until its other end is closed."""
    # Signals to the whole group, from a terminal or a service manager, are the service's business: it closes sockets.
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)
    preload()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        while answer_next(control):
            pass


def answer_next(control: socket.socket) -> bool:
    """Carry out the next command; False where there will be none."""
    command, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    if command == FORK:
        control.sendall(NUMBER.pack(_fork(control, descriptors[0])))
    elif command == WAIT:
        (pid,) = NUMBER.unpack(control.recv(NUMBER.size, socket.MSG_WAITALL))
        control.sendall(NUMBER.pack(_wait(pid)))
    return bool(command)


def _fork(control: socket.socket, descriptor: int) -> int:
    """Start a worker on a socket, and return its process id; 0 where the system has no room for one."""
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        control.close()
        _run_worker(descriptor)
    os.close(descriptor)
    return max(pid, 0)


def _run_worker(descriptor: int) -> NoReturn:
    """Does not return to the loop of the fork server."""
    status = 1
    try:
        with socket.socket(fileno=descriptor) as connection:
            serve(connection)
        status = 0
    except Exception:  # noqa: BLE001 # a defect, of which the process dies
        traceback.print_exc()
    finally:
        os._exit(status)


def _wait(pid: int) -> int:
    """The exit code of a worker that has ended or is about to, negative for a signal; or UNKNOWN."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return UNKNOWN
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
