"""ASGI middleware: what browsers are told to do, and not to do, with the answers."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING_LOADED = "default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of an answer that is no page: an image or JSON, opened on its own."""


class SecurityHeaders:
    """Adds the headers that the answer does not have itself."""

    def __init__(self, app: ASGIApp, resource_policy: str) -> None:
        """`resource_policy`: which sites may embed answers: same-origin, same-site or cross-origin."""
        self._app = app
        self._fields = [
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", NOTHING_LOADED.encode()),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", resource_policy.encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = [field for field in self._fields if field[0] not in there]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
