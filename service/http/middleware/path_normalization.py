"""ASGI middleware: what HTTP allows in several forms reaches the routes in one."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.root_path import root_path, route_path


class NormalizePath:
    """A trailing slash is removed, and HEAD is GET without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = root_path(scope) + normalize_path(route_path(scope))
        if scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            scope["method"] = "HEAD"  # for the server, the access log and the metrics
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        await self._app(scope, receive, send_head)


def normalize_path(path: str) -> str:
    """The path without slashes at its end, `/` for the root."""
    return path.rstrip("/") or "/"
