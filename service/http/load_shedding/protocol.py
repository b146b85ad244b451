"""uvicorn's HTTP protocol, with load shedding before the ASGI application.

A request that is shed never becomes an ASGI call: it has no task, its body is discarded as it arrives, and its response
is one write: 70 µs where the application takes 107 (`benchmarks/RESULTS.md`). It relies on
internals of uvicorn, whose version is therefore bounded in pyproject.toml; with the setting `load_shedding` off,
uvicorn's own protocol is used.
"""

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.load_shedding.load_shedder import LoadShedder, RenderedRefusal

LINGER_SECONDS = 5.0
"""Seconds for the rest of the body of a request that was answered with `Connection: close`."""


class RefusedCycle(RequestResponseCycle):
    """Stands for a refused request where uvicorn looks for the request that it is working on."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()
        self.response_complete = False
        self.disconnected = False
        self.more_body = True


class HttpProtocol(HttpToolsProtocol):
    """A connection: refuses requests before the ASGI call, and discards their bodies."""

    def __init__(
        self, shedder: LoadShedder, *arguments: Any, linger_seconds: float = LINGER_SECONDS, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._shedder = shedder
        self._linger_seconds = linger_seconds
        self._linger_timer: asyncio.TimerHandle | None = None

    def on_headers_complete(self) -> None:
        """Refuse the request, or pass it to the application."""
        if not self._refuse():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Discard the body of a refused request."""
        if not isinstance(self.cycle, RefusedCycle):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request has arrived."""
        if not isinstance(self.cycle, RefusedCycle):
            super().on_message_complete()
            return
        self.cycle.more_body = False
        if self.cycle.response_complete:
            self._finish(self.cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        self._cancel_linger()
        super().connection_lost(exc)

    def _refuse(self) -> bool:
        """Whether the request is refused here.

        Not while an earlier one on this connection is unanswered, or the client does not read its responses; nor where
        the client sends the body only after 100 Continue: it might never send it.
        """
        earlier: RequestResponseCycle | None = self.cycle
        if self.flow.write_paused or (earlier is not None and not earlier.response_complete):
            return False
        if self.parser.get_method() != b"POST" or self.expect_100_continue or self.parser.should_upgrade():
            return False
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        cycle = RefusedCycle(keep_alive=keep_alive)
        if not self._shedder.refuse(self.url, self.headers, partial(self._send_refusal, cycle)):
            return False
        self.cycle = cycle
        return True

    def _send_refusal(self, cycle: RefusedCycle, refusal: RenderedRefusal, instance: bytes, fields: bytes) -> bool:
        """See `SendRefusal`. A failed connection is closing some time before its loss is reported."""
        if cycle.disconnected or self.transport.is_closing():
            return False
        own = [b"%s: %s\r\n" % field for field in self.server_state.default_headers]
        own += [] if cycle.keep_alive else [b"connection: close\r\n"]
        self.transport.write(refusal.message(instance, b"".join((*own, fields))))
        cycle.response_complete = True
        if cycle.more_body:
            seconds = self.timeout_keep_alive if cycle.keep_alive else self._linger_seconds
            self._linger_timer = self.loop.call_later(seconds, self.transport.close)
        else:
            self._finish(cycle)
        self.on_response_complete()
        return True

    def _finish(self, cycle: RefusedCycle) -> None:
        """The request has arrived and is answered: close the connection, or wait for the next request.

        Not earlier: closing with unread bytes would reset the connection, and the response could be lost.
        """
        self._cancel_linger()
        if not cycle.keep_alive:
            self.transport.close()
        elif self.timeout_keep_alive_task is None:
            later = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = later

    def _cancel_linger(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
