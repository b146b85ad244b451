"""A connection: uvicorn's HTTP protocol within limits of size and time: no client holds it, or memory, for long.

It leans on internals of uvicorn, whose version is therefore bounded in pyproject.toml.
"""

import math
import select
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import (
    HeaderTooLarge,
    HeadTimeout,
    MalformedRequest,
    Overloaded,
    ServiceError,
    TargetTooLong,
    TooManyConnections,
)
from service.http.probes import PROBES_AND_METRICS
from service.http.problems import render
from service.http.request_id import request_id
from service.telemetry.metrics import Metrics

FRAMING_FIELDS = frozenset({b"content-length", b"transfer-encoding"})

FRAMING_PER_BYTE = 8
"""A body in chunks of one byte has five bytes of framing for each."""

SPARE_CONNECTIONS = 32
"""Connections beyond the limit that may ask for a probe; further ones are closed at once."""

RETRY_SECONDS = 5

HANG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)
"""That the client sends no more. Some systems know only one that has left."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may take. Times are in seconds, sizes in bytes."""

    connections: int = 4096
    """Of all clients, at the same time."""
    exempt: frozenset[str] = PROBES_AND_METRICS
    """Paths that are answered on further connections, too."""
    header_seconds: float = 10.0
    """For a request line and a header to arrive, counted from the connection or from their first byte."""
    keep_alive_seconds: float = 75.0
    """Between two requests. Longer than the minute after which load balancers close an idle connection: they must be
    the first to close it."""
    linger_seconds: float = 5.0
    """How long input is still read after a response that closes the connection."""
    linger_bytes: int = 2**22
    """How much input is still read after the connection was refused."""
    write_seconds: float = 10.0
    """The time in which a client must read a response, beside its size divided by `bytes_per_second`."""
    bytes_per_second: float = 8192.0
    """The least rate at which a client reads a response."""
    target_bytes: int = 8192
    """RFC 9112, section 3, recommends 8000 at least."""
    header_bytes: int = 32768
    """Names and values of all fields."""
    header_fields: int = 100
    framing_bytes: int = 16384
    """For chunk extensions and trailers, beside FRAMING_PER_BYTE for each byte of the body."""
    pipelined: int = 64
    """Requests that wait for the answers of earlier ones."""


class ParserPosition(NamedTuple):
    """Where the parser is: in which request, and in its head or its body."""

    request: int
    is_head: bool
    is_body: bool


class Connection(HttpToolsProtocol):
    """A connection of a client.

    `check` must be called some times a second: it ends what takes too long. A request that cannot be understood, or
    exceeds a limit, gets its answer after those before it, and is the last on its connection.
    """

    def __init__(self, limits: ConnectionLimits, metrics: Metrics, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._metrics = metrics
        self._expires = math.inf
        self._requests = 0
        self._in_head = False
        self._in_body = False
        self._resumes = False
        self._fed = 0
        self._discarded = 0
        self._header_bytes = 0
        self._body_bytes = 0
        self._unanswered = 0
        self._is_surplus = False
        self._refusal: ServiceError | None = None
        self._running: RequestResponseCycle | None = None
        self._unsent = 0
        self._write_expires = math.inf

    def connection_made(self, transport: Any) -> None:
        """Start the time for the header; close the connection where there are too many."""
        super().connection_made(transport)
        self._expires = self.loop.time() + self._limits.header_seconds
        self._is_surplus = len(self.connections) > self._limits.connections
        if len(self.connections) > self._limits.connections + SPARE_CONNECTIONS:
            self._metrics.connections_closed.labels("surplus").inc()
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the application know that the client of the request it works on has left; drop those that wait.

        uvicorn tells it of the last request that came.
        """
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, within the limits. After a refusal it is discarded."""
        if self._refusal is not None:
            self._discard(len(data))
            return
        part = self._position
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.refuse(cause if isinstance(cause, ServiceError) else _malformed(error))
            return
        self._fed = self._count(len(data), part)
        if excess := self._excess():
            self.refuse(excess)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._resumes:
            return
        super().on_message_begin()
        if self._requests:  # the first one counts from the connection
            self._expires = self.loop.time() + self._limits.header_seconds
        self._requests += 1
        self._in_head, self._header_bytes, self._body_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        if self._resumes:
            return
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            raise self._target_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the header; or of a trailer, which has no meaning here."""
        if not self._in_head:
            return
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._limits.header_bytes or len(self.headers) > self._limits.header_fields:
            raise self._header_too_large()

    def on_headers_complete(self) -> None:
        """Refuse the request, or pass it on."""
        if self._resumes:
            return
        self._check_head()
        self.start_request()
        self._unanswered += 1
        self._in_head, self._in_body, self._expires = False, True, math.inf
        if self._is_surplus:
            self.cycle.keep_alive = False

    def start_request(self) -> None:
        """Pass the request to the application."""
        super().on_headers_complete()

    def take_body(self, body: bytes) -> None:
        """Keep a part of the body for the application."""
        super().on_body(body)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        self.take_body(body)

    def on_message_complete(self) -> None:
        """The whole request has arrived."""
        if self.parser.should_upgrade():
            return  # the parser takes the rest for another protocol
        super().on_message_complete()
        self._in_body = False
        self._rest()

    def on_response_complete(self) -> None:
        """A request has been answered."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # `check` does that
        self._unanswered -= 1
        if self._refusal is not None and not self._unanswered:
            self._answer_refusal(self._refusal)
        else:
            self._rest()

    def refuse(self, error: ServiceError) -> None:
        """Answer this, after what was asked before, to the request that is arriving; discard what comes, and close."""
        self._refusal = error
        self._expires = math.inf
        if self._in_body:
            self._withdraw()
        if not self._unanswered:
            self._answer_refusal(error)

    def check(self, now: float) -> None:
        """End what has taken too long at the time `now` of the event loop, and notice clients that have left."""
        if self.flow.read_paused and not self.transport.is_closing() and self._has_hung_up():
            self.flow.resume_reading()  # up to the end, which is near
        unsent = self.transport.get_write_buffer_size()
        if unsent > self._unsent:
            self._write_expires = now + self._limits.write_seconds + unsent / self._limits.bytes_per_second
        self._unsent = unsent
        if unsent and now > self._write_expires:
            self._metrics.connections_closed.labels("unread").inc()
            self.transport.abort()
        elif now > self._expires:
            self._expire()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _has_hung_up(self) -> bool:
        """Whether the client sends no more, also where what it has sent is not read yet."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), HANG_UP)
        return bool(poll.poll(0))

    def _expire(self) -> None:
        self._expires = math.inf
        if self._in_head and self._refusal is None:
            seconds = self._limits.header_seconds
            self.refuse(HeadTimeout(f"a request line and a header must arrive within {seconds:.12g} s"))
            return
        if not self._requests or self._in_body:
            self._metrics.connections_closed.labels("silent").inc()
        self.transport.close()

    def _rest(self) -> None:
        """Where all requests are answered: close the connection, or wait for the rest of a body or the next request.

        Closing before a body has come would reset the connection, and the answer could be lost.
        """
        if self._unanswered or self._in_head:
            return
        keep_alive = self.cycle.keep_alive
        if not keep_alive and not self._in_body:
            self.transport.close()
        limits = self._limits
        self._expires = self.loop.time() + (limits.keep_alive_seconds if keep_alive else limits.linger_seconds)

    def _withdraw(self) -> None:
        """Let the application know that the request whose body was arriving has failed, unless it is answered."""
        cycle: RequestResponseCycle = self.cycle
        self._in_body = False
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            self._unanswered -= 1
        elif cycle.response_complete:
            self.transport.close()
        elif cycle.response_started:
            cycle.keep_alive = False
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._unanswered -= 1

    def _answer_refusal(self, error: ServiceError) -> None:
        if self.transport.is_closing():
            return
        self._metrics.requests.labels("other", "other", error.status).inc()
        self._metrics.rejected.labels(error.kind).inc()
        self.transport.write(_message(error, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expires = self.loop.time() + self._limits.linger_seconds

    def _count(self, length: int, before: ParserPosition) -> int:
        """A lower bound of the bytes of the arriving request, `length` bytes after the parser was at `before`."""
        if before == self._position:
            return self._fed + length
        is_first = self._requests == before.request + 1 and not (before.is_head or before.is_body)
        return length if is_first else 0

    @property
    def _position(self) -> ParserPosition:
        return ParserPosition(self._requests, self._in_head, self._in_body)

    def _discard(self, length: int) -> None:
        """Discard what comes after a refusal, up to `linger_bytes`; beyond them the connection expires."""
        self._discarded += length
        if self._discarded > self._limits.linger_bytes:
            self._expires = 0.0

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            self._ignore_upgrade()

    def _ignore_upgrade(self) -> None:
        """Go on with the body of a request that asks for another protocol, which RFC 9110, section 7.8, allows.

        The parser stops after such a head. A new one is told how long the body is.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        framing = [b"%s: %s\r\n" % field for field in self.headers if field[0] in FRAMING_FIELDS]
        self._resumes = True
        try:
            self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        finally:
            self._resumes = False

    def _excess(self) -> ServiceError | None:
        """What is wrong with the size of an unfinished head, or of a body's framing."""
        limits = self._limits
        if self._in_head and self._fed > limits.target_bytes + limits.header_bytes:
            return self._header_too_large() if self.headers else self._target_too_long()
        if self._in_body and self._fed - self._body_bytes > limits.framing_bytes + FRAMING_PER_BYTE * self._body_bytes:
            return MalformedRequest("the chunks of the body have too many extensions or trailers; send larger ones")
        return None

    def _check_head(self) -> None:
        """Raise what is wrong with a complete head."""
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise MalformedRequest("only HTTP/1.1 and HTTP/1.0 are understood here")
        names = [name for name, _ in self.headers]
        if version == "1.1" and names.count(b"host") != 1:
            raise MalformedRequest("a request must have exactly one Host field (RFC 9112, section 3.2)")
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or codings != [b"chunked"]):
            raise MalformedRequest("the only Transfer-Encoding is chunked, and HTTP/1.0 has none")
        if len(self.pipeline) >= self._limits.pipelined:
            raise Overloaded(f"{len(self.pipeline)} requests wait on this connection; wait for answers", retry_after=1)
        if self._is_surplus and self.url.partition(b"?")[0].decode("latin-1") not in self._limits.exempt:
            detail = f"at most {self._limits.connections} connections may be open; retry in {RETRY_SECONDS} s"
            raise TooManyConnections(detail, retry_after=RETRY_SECONDS)

    def _target_too_long(self) -> TargetTooLong:
        return TargetTooLong(f"a URL has at most {self._limits.target_bytes} bytes here")

    def _header_too_large(self) -> HeaderTooLarge:
        fields, size = self._limits.header_fields, self._limits.header_bytes
        return HeaderTooLarge(f"a header has at most {fields} fields and {size} bytes here")


def _malformed(error: httptools.HttpParserError) -> MalformedRequest:
    return MalformedRequest(f"this is no HTTP/1.1 request: {error}")


def _message(error: ServiceError, fields: list[tuple[bytes, bytes]]) -> bytes:
    """A failure as a whole response, which says that the connection is closed. `fields` are further header fields."""
    response = render(error, request_id(""))
    named = [(name, value) for name, value in response.raw_headers if name != b"connection"]
    lines = [b"%s: %s\r\n" % field for field in [*fields, *named, (b"connection", b"close")]]
    status = b"HTTP/1.1 %d %s\r\n" % (error.status, HTTPStatus(error.status).phrase.encode())
    return b"".join([status, *lines, b"\r\n", response.body])
