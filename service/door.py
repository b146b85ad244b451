"""The HTTP protocol of the service: uvicorn's, but for requests that are refused at the door.

Such a request never becomes an ASGI call: it has no task, its body is thrown away as it comes, and its answer is one
write. That takes two thirds of what the same cost as an ASGI application (`benchmarks/RESULTS.md`).
"""

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.turnstile import Refusal, Turnstile

LINGER_SECONDS = 5.0
"""For which the rest of a body may come whose request is answered and whose connection ends with it."""


class RefusedCycle(RequestResponseCycle):
    """Stands for a refused request where uvicorn looks for the one that it is at."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()
        self.response_complete = False
        self.disconnected = False
        self.more_body = True


class Door(HttpToolsProtocol):
    """One connection."""

    def __init__(self, turnstile: Turnstile, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._turnstile = turnstile
        self._linger: asyncio.TimerHandle | None = None

    def on_headers_complete(self) -> None:
        """Refuse the request, or begin it."""
        if not self._refused():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body, which nobody reads of a request that is refused."""
        if not isinstance(self.cycle, RefusedCycle):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        if not isinstance(self.cycle, RefusedCycle):
            super().on_message_complete()
            return
        self.cycle.more_body = False
        if self.cycle.response_complete:
            self._finish(self.cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        self._unset_linger()
        super().connection_lost(exc)

    def _refused(self) -> bool:
        """Whether it is; one behind another that is not answered yet is refused inside, when its turn comes.

        So is one whose client waits before it sends the body, for it may never send it, and one whose client does not
        read its answers.
        """
        behind: RequestResponseCycle | None = self.cycle
        if self.flow.write_paused or (behind is not None and not behind.response_complete):
            return False
        if self.parser.get_method() != b"POST" or self.expect_100_continue or self.parser.should_upgrade():
            return False
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        cycle = RefusedCycle(keep_alive=keep_alive)
        if not self._turnstile.refuses(self.url, self.headers, partial(self._answer, cycle)):
            return False
        self.cycle = cycle
        return True

    def _answer(self, cycle: RefusedCycle, refusal: Refusal, instance: bytes, own: bytes) -> bool:
        """As `Answer` says. A connection that has failed is closed while the loss of it is not known yet."""
        if cycle.disconnected or self.transport.is_closing():
            return False
        fields = [b"%s: %s\r\n" % field for field in self.server_state.default_headers]
        fields += [] if cycle.keep_alive else [b"connection: close\r\n"]
        self.transport.write(refusal.message(instance, b"".join((*fields, own))))
        cycle.response_complete = True
        if cycle.more_body:
            seconds = self.timeout_keep_alive if cycle.keep_alive else LINGER_SECONDS
            self._linger = self.loop.call_later(seconds, self.transport.close)
        else:
            self._finish(cycle)
        self.on_response_complete()
        return True

    def _finish(self, cycle: RefusedCycle) -> None:
        """Answered, and all has come: close the connection, or wait for the next request.

        Not before: bytes that are not read would reset the connection, and the answer could be lost.
        """
        self._unset_linger()
        if not cycle.keep_alive:
            self.transport.close()
        elif self.timeout_keep_alive_task is None:
            later = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = later

    def _unset_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
