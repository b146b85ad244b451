"""Routes with a JSON body, which the framework reads: bounded, since it reads it into memory whole."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from service.errors import BodyTooLarge
from service.http.content_coding import parse_coding

MAX_JSON_BYTES = 2**16
"""The largest JSON body; every request of the API has a few hundred bytes."""


class JsonRoute(APIRoute):
    """A route whose body has at most MAX_JSON_BYTES; else it answers BodyTooLarge as soon as more has come."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the framework, with a body that is counted."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            parse_coding(request.headers.getlist("Content-Encoding"), accepted=())
            return await handler(Request(request.scope, _counted(request.receive)))

        return handle


def _counted(receive: Receive) -> Receive:
    length = 0

    async def counted() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > MAX_JSON_BYTES:
            detail = f"a JSON body has at most {MAX_JSON_BYTES} bytes here"
            raise BodyTooLarge(detail, limit="max_json_bytes", actual=length, max_accepted=MAX_JSON_BYTES)
        return message

    return counted
