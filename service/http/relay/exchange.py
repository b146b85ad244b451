"""A request and its answer as values, which can be sent to another process, and an application called with them."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Scope

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields: names in lower case, values."""

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
"""Header fields that are of one connection alone (RFC 9110, section 7.6.1)."""


ADMITTED_BEFORE = "admitted_before"
"""In the state of a request: `HttpCall.admitted_before`."""


@dataclass(frozen=True)
class HttpCall:
    """A request with its whole body, as an ASGI server describes it."""

    method: str
    path: str
    raw_path: bytes
    query: bytes = b""
    headers: Fields = ()
    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    scheme: str = "http"
    body: bytes = b""
    admitted_before: bool = False
    """Whether it was given to another replica before, which was lost."""

    @classmethod
    def of(cls, scope: Scope, body: bytes, without: frozenset[bytes] = frozenset()) -> "HttpCall":
        """The call that a scope describes, without the header fields of its connection and those of `without`."""
        dropped = HOP_BY_HOP | without
        headers = tuple((bytes(name), bytes(value)) for name, value in scope["headers"] if name not in dropped)
        client, server = (scope.get(side) and tuple(scope[side]) for side in ("client", "server"))
        path = scope["path"]
        raw_path = scope.get("raw_path") or path.encode()
        return cls(
            scope["method"], path, raw_path, scope["query_string"], headers, client, server, scope["scheme"], body
        )

    def scope(self) -> dict[str, Any]:
        """Its ASGI scope."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "path": self.path,
            "raw_path": self.raw_path,
            "query_string": self.query,
            "root_path": "",
            "headers": list(self.headers),
            "client": self.client,
            "server": self.server,
            "scheme": self.scheme,
            "state": {ADMITTED_BEFORE: self.admitted_before},
        }


@dataclass(frozen=True)
class HttpAnswer:
    """A whole answer."""

    status: int
    headers: Fields
    body: bytes


def was_admitted_before(request: Request) -> bool:
    """`HttpCall.admitted_before` of the call that an application is asked; False where a client asks it directly."""
    return bool(getattr(request.state, ADMITTED_BEFORE, False))


async def exchange(app: ASGIApp, call: HttpCall) -> HttpAnswer:
    """What an application answers. Whoever cancels the wait has left: so does the application's client."""
    request, answer = _Request(call.body), _Answer()
    answering = asyncio.ensure_future(app(call.scope(), request.receive, answer.send))
    try:
        await asyncio.wait((answering,))
    except asyncio.CancelledError:
        request.left.set()
        await asyncio.wait((answering,))
        raise
    answering.result()
    return HttpAnswer(answer.status, answer.headers, b"".join(answer.pieces))


class _Request:
    """A body that is there at once."""

    def __init__(self, body: bytes) -> None:
        self._bodies = [body]
        self.left = asyncio.Event()
        """Set when the client leaves."""

    async def receive(self) -> Message:
        if self._bodies:
            return {"type": "http.request", "body": self._bodies.pop(), "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}


class _Answer:
    """Collects an answer."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: Fields = ()
        self.pieces: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], tuple(message["headers"])
        elif message["type"] == "http.response.body":
            self.pieces.append(message.get("body", b""))
