"""A connection that sheds load before the ASGI application.

A request that is shed never becomes an ASGI call: it has no task, its body is discarded as it arrives, and its response
is one write: 70 µs where the application takes 107 (`benchmarks/RESULTS.md`).
"""

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.http.connection import Connection
from service.http.load_shedding.load_shedder import LoadShedder, RenderedRefusal


class RefusedCycle(RequestResponseCycle):
    """Stands for a refused request where uvicorn looks for the request that it is working on."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()
        self.response_started = False
        self.response_complete = False
        self.disconnected = False
        self.more_body = True


class SheddingConnection(Connection):
    """Refuses requests before the ASGI call, and discards their bodies."""

    def __init__(self, shedder: LoadShedder, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._shedder = shedder

    def start_request(self) -> None:
        """Refuse the request, or pass it to the application."""
        if not self._shed():
            super().start_request()

    def take_body(self, body: bytes) -> None:
        """Discard the body of a refused request."""
        if not isinstance(self.cycle, RefusedCycle):
            super().take_body(body)

    def _shed(self) -> bool:
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
        cycle.response_started = cycle.response_complete = True
        self.on_response_complete()
        return True
