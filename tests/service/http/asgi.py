"""Calls a middleware as a server does."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Fields = list[tuple[bytes, bytes]]


def call(
    build: Callable[[ASGIApp], ASGIApp],
    path: str = "/v1/models",
    headers: Fields | None = None,
    answered: Fields | None = None,
    **scope: Any,
) -> tuple[Scope, list[Message]]:
    """The scope that reached the application, empty where none did; and what was sent."""
    reached: Scope = {}
    sent: list[Message] = []

    async def answer(inner: Scope, _receive: Receive, send: Send) -> None:
        reached.update(inner)
        await send({"type": "http.response.start", "status": 200, "headers": answered or []})
        await send({"type": "http.response.body", "body": b"hi"})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    outer = {"type": "http", "method": "GET", "path": path, "headers": headers or [], "client": ("192.0.2.1", 1)}

    async def run() -> None:
        await build(answer)(outer | scope, receive, send)

    asyncio.run(run())
    return reached, sent
