"""Routes with a JSON body, which the framework reads: bounded, since it reads it into memory whole."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from starlette.types import Message, Receive

from service.http.body import BodyLimit, read_plain
from service.http.unknown_parameters import StrictRoute

JSON_LIMIT = BodyLimit(2**16, "max_json_bytes", "a JSON body")
"""The largest JSON body; every request of the API has a few hundred bytes."""

JSON_SECONDS = 60.0
"""For a JSON body to arrive."""


class JsonRoute(StrictRoute):
    """A route whose body is read as `read_plain` reads it, before the framework parses it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the framework, with a body that has been read."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            body = await read_plain(request, JSON_LIMIT, JSON_SECONDS)
            return await handler(Request(request.scope, _replayed(body, request.receive)))

        return handle


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Receives the whole body first."""
    unread = [body]

    async def replay() -> Message:
        return {"type": "http.request", "body": unread.pop(), "more_body": False} if unread else await receive()

    return replay
