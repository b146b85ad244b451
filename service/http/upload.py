"""ASGI middleware: what the body of a request may take, of memory and of time."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import BodyTimeout, ClientGone
from service.http.body_budget import BodyBudget, Reservation
from service.settings import Settings

WAIT_SHARE = 0.5
"""The share of its time after which a body that waits for memory is refused: the rest would be too short to send it."""

GROWTH_SECONDS = 5.0
"""For so long a body may wait for more memory: bodies that hold some and wait for more keep each other waiting."""


@dataclass(frozen=True)
class Pace:
    """How fast a body must arrive, on average over the last seconds."""

    bytes_per_second: float
    seconds: float = 10.0
    """Also the time until its first bytes must be there."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """That of the settings."""
        return cls(settings.min_bytes_per_second)

    def for_body(self, length: int, seconds: float) -> "Pace":
        """That of a body of so many bytes, which has so much time: one that would take twice as long is too slow.

        It would hold the memory that is reserved for it, and never be complete.
        """
        return replace(self, bytes_per_second=max(self.bytes_per_second, length / seconds / 2))

    async def chunks(self, receive: Receive, began: float, seconds: float) -> AsyncGenerator[bytes, None]:
        """The body, as long as it comes fast enough, and within so many seconds of `began` (the event loop's clock).

        The pace is that of the client: the time that the consumer takes does not count. Raises BodyTimeout, or
        ClientGone where the client leaves.
        """
        clock, until = asyncio.get_running_loop().time, began + seconds
        due = clock() + self.seconds
        more = True
        while more:
            try:
                async with asyncio.timeout_at(min(due, until)):
                    message = await receive()
            except TimeoutError as error:
                late = BodyTimeout(f"the body must arrive within {seconds:g} s")
                raise (late if clock() >= until else self._too_slow()) from error
            if message["type"] == "http.disconnect":
                raise ClientGone("the client left while it sent the body")
            arrived, body, more = clock(), message.get("body", b""), message.get("more_body", False)
            due = min(due + len(body) / self.bytes_per_second, arrived + self.seconds)
            yield body
            due += clock() - arrived

    def _too_slow(self) -> BodyTimeout:
        rate, seconds = self.bytes_per_second, self.seconds
        return BodyTimeout(f"this body must bring {rate:.0f} bytes per second at least, on average over {seconds:g} s")


class Upload:
    """The body of one request: its share of the memory for bodies, and its time."""

    def __init__(self, budget: BodyBudget, pace: Pace) -> None:
        self._budget = budget
        self._reservation: Reservation = budget.open()
        self.pace = pace

    async def reserve(self, size: int, seconds: float) -> None:
        """Have room for so many bytes, before the first is read. Raises TooManyUploads after a share of the seconds."""
        await self._budget.grow(self._reservation, size, WAIT_SHARE * seconds)

    async def grow(self, size: int, seconds: float) -> None:
        """Have room for so many bytes in all, while the body is read. Raises TooManyUploads.

        `seconds` are left for the body.
        """
        await self._budget.grow(self._reservation, size, min(GROWTH_SECONDS, WAIT_SHARE * seconds))

    def release(self) -> None:
        """The body is no longer in memory."""
        self._budget.release(self._reservation)


class Uploads:
    """Gives every request an Upload, at `request.state.upload`, and releases its memory when the request has ended."""

    def __init__(self, app: ASGIApp, new_upload: Callable[[], Upload]) -> None:
        self._app = app
        self._new_upload = new_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope.setdefault("state", {})["upload"] = self._new_upload()
        try:
            await self._app(scope, receive, send)
        finally:
            upload.release()
