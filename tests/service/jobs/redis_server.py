"""A real redis-server for tests, on a Unix socket."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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

    @property
    def socket(self) -> Path:
        return self._socket

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


class Losing:
    """A way to a server, on which so many answers of scripts are lost, with their connections."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._connections: set[asyncio.Task[None]] = set()
        self.lost = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        answers, commands = await asyncio.open_unix_connection(self._server.socket)
        forwarding = asyncio.create_task(self._forward(reader, commands))
        while (answer := await answers.read(2**20)) and not (self.lost and not answer.startswith(b"-")):
            writer.write(answer)
        self.lost -= bool(answer)
        for each in (writer, commands):
            each.close()
            await each.wait_closed()
        await forwarding

    async def closed(self) -> None:
        """Wait for the end of all connections."""
        await asyncio.gather(*self._connections)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**20):
            writer.write(data)
        writer.close()


@asynccontextmanager
async def losing(server: RedisServer) -> AsyncIterator[tuple[Losing, str]]:
    """Such a way for the length of the block, and its URL."""
    way = Losing(server)
    async with await asyncio.start_server(way.accept, "127.0.0.1", 0) as listener:
        yield way, f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
        await way.closed()
