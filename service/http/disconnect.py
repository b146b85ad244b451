"""Notices that a client has left while its answer is computed."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from service.engine.patience import CLIENT_LEFT
from service.errors import ClientGone

T = TypeVar("T")


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`. Cancels it, saying CLIENT_LEFT, and raises ClientGone as soon as the client has left.

    To be called when the body has been read: then only a disconnection can be received.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_until_disconnected(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel(CLIENT_LEFT)
            raise ClientGone("the client left before its answer was ready")
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
