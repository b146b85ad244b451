"""Starts workers, and waits for their ends, through a fork server."""

import errno
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from service.imaging.workers.fork_server import FORK, NUMBER, UNKNOWN, WAIT
from service.imaging.workers.messages import message_sockets

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
}
"""Of the fork server, so of all workers. Each computes in one thread, since there are several; and keeps the memory of
one image of a megapixel or so for the next one, as fresh pages take a third of the time."""

PROGRAM = "service.imaging.workers.fork_server"


@dataclass(frozen=True)
class _ForkServer:
    process: subprocess.Popen[bytes]
    control: socket.socket

    @classmethod
    def start(cls) -> "_ForkServer":
        ours, theirs = socket.socketpair()
        search_path = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": search_path},
            )
        return cls(process, ours)

    def ask(self, command: bytes, *descriptors: int) -> int:
        """The answer to a command. Raises ConnectionError where the fork server has ended."""
        socket.send_fds(self.control, [command], descriptors)
        answer = self.control.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(answer) < NUMBER.size:
            raise ConnectionResetError("the fork server has ended")
        (number,) = NUMBER.unpack(answer)
        return int(number)

    def stop(self) -> None:
        self.control.close()
        self.process.wait()


class WorkerLauncher:
    """Starts and awaits worker processes. Its calls block, for a second where the fork server starts with them.

    The fork server starts with the first worker, and again should it have ended. Any thread may call it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: _ForkServer | None = None

    def fork(self) -> tuple[int, socket.socket]:
        """The process id of a new worker, and the socket on which it takes tasks. Raises OSError."""
        with self._lock:
            try:
                return self._fork()
            except ConnectionError:
                self._stop()
                return self._fork_again()

    def wait(self, pid: int) -> int | None:
        """The exit code of a worker that has ended, negative for a signal; None where nobody knows it."""
        with self._lock:
            try:
                exit_code = UNKNOWN if self._server is None else self._server.ask(WAIT + NUMBER.pack(pid))
            except OSError:
                return None
            return None if exit_code == UNKNOWN else exit_code

    def close(self) -> None:
        """Stop the fork server. Workers end when their sockets are closed."""
        with self._lock:
            self._stop()

    def _fork(self) -> tuple[int, socket.socket]:
        self._server = self._server or _ForkServer.start()
        ours, theirs = message_sockets()
        try:
            with theirs:
                pid = self._server.ask(FORK, theirs.fileno())
            if not pid:
                raise OSError(errno.ENOMEM, "the system has no room for another process")
        except OSError:
            ours.close()
            raise
        return pid, ours

    def _fork_again(self) -> tuple[int, socket.socket]:
        try:
            return self._fork()
        except ConnectionError as error:  # whoever kills it again wants its memory
            raise OSError(errno.ENOMEM, "the process that starts codec workers was killed twice") from error

    def _stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None
