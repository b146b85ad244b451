"""The HTTP protocol of the service: uvicorn's, but for requests that are refused at the door.

Such a request never becomes an ASGI call: it has no task, its body is thrown away as it comes, and its answer is one
write. That is less than half of what the shortest ASGI application costs.
"""

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.turnstile import Refusal, Turnstile


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
        self._close_if_done(self.cycle)

    def _refused(self) -> bool:
        """Whether it is; one behind another that is not answered yet is refused inside, when its turn comes.

        So is one whose client waits before it sends the body, for it may never send it.
        """
        behind: RequestResponseCycle | None = self.cycle
        if behind is not None and not behind.response_complete:
            return False
        if self.parser.get_method() != b"POST" or self.expect_100_continue or self.parser.should_upgrade():
            return False
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        cycle = RefusedCycle(keep_alive=keep_alive)
        if not self._turnstile.refuses(self.url, tuple(self.headers), partial(self._answer, cycle)):
            return False
        self.cycle = cycle
        return True

    def _answer(self, cycle: RefusedCycle, refusal: Refusal, instance: bytes) -> None:
        if cycle.disconnected:
            return
        fields = [b"%s: %s\r\n" % field for field in self.server_state.default_headers]
        fields += [] if cycle.keep_alive else [b"connection: close\r\n"]
        self.transport.write(refusal.message(instance, b"".join(fields)))
        cycle.response_complete = True
        self._close_if_done(cycle)
        self.on_response_complete()

    def _close_if_done(self, cycle: RefusedCycle) -> None:
        """Where nothing more is to come, and not before: bytes that are not read would reset the connection."""
        if cycle.response_complete and not cycle.more_body and not cycle.keep_alive:
            self.transport.close()
