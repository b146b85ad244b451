"""HTTP as bytes on a connection."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import parse_headers
from typing import BinaryIO
from urllib.parse import urlsplit

LIVE = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"


class Wire:
    """A connection to a service, on which bytes are written and answers read."""

    def __init__(self, connection: socket.socket, stream: BinaryIO) -> None:
        self.send = connection.sendall
        self._stream = stream

    def answer(self) -> tuple[int, Message, bytes]:
        """The status, the header and the body of the next answer."""
        status = int(self._stream.readline().split()[1])
        header = parse_headers(self._stream)
        return status, header, self._stream.read(int(header["Content-Length"]))

    def statuses(self, count: int) -> list[int]:
        """The statuses of the next answers."""
        return [self.answer()[0] for _ in range(count)]

    def line(self) -> bytes:
        """The next line."""
        return self._stream.readline()

    def ended(self) -> bool:
        """Whether the service has closed the connection, and not reset it."""
        return self._stream.read(1) == b""


@contextmanager
def connected(url: str) -> Iterator[Wire]:
    """A connection to the service at that URL."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
    with connection, connection.makefile("rb") as stream:
        yield Wire(connection, stream)
