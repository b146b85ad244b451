"""What HTTP lets a client say in several ways, said in one: the routes then need to know no other."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class NormalForm:
    """The innermost ASGI middleware: HEAD is GET without the body (RFC 9110, 9.3.2), a slash at the end is none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].endswith("/") and scope["path"] != "/":
            scope["path"] = scope["path"].rstrip("/") or "/"
        if scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            scope["method"] = "HEAD"  # as the server, the log and the metrics know it
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        await self._app(scope, receive, send_head)
