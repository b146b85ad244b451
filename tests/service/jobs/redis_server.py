"""A real redis-server for tests, on a Unix socket."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.service.live import wait_for

MISSING = "needs redis-server: apt-get install redis-server"


class RedisServer:
    """A server that can be stopped and started again, with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self._command = ["redis-server", "--port", "0", "--unixsocket", str(self._socket), "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Redis(unix_socket_path=str(self._socket))

    def url(self, database: int = 0) -> str:
        return f"unix://{self._socket}?db={database}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._answers, lambda answers: answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (RedisError, OSError):
            return False


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A server for the length of the block. Skips the test where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.stop()
