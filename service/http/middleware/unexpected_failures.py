"""ASGI middleware: what nobody expected gets its answer here, so that it passes all other middleware as others do.

The framework would answer outside of them: without a log line of the true status, the headers of CORS, and HEAD.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Draining

logger = logging.getLogger(__name__)


class UnexpectedFailures:
    """Logs exceptions under the id of their request. One after the beginning of an answer can only break that off.

    A task is cancelled by the server alone, when it has waited long enough for the last requests.
    """

    def __init__(self, app: ASGIApp, respond: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        """`respond` makes the answer, which has an X-Request-ID."""
        self._app = app
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def send_noticed(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        except asyncio.CancelledError:
            if not began and scope["type"] == "http":
                response = await self._respond(Request(scope), Draining())
                await response(scope, receive, send)
            raise
        except Exception as error:
            if began or scope["type"] != "http":
                raise
            response = await self._respond(Request(scope), error)
            logger.exception("request %s failed", response.headers["X-Request-ID"])
            await response(scope, receive, send)
