"""What the body of each request may take, of memory and of time."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.body_budget import BodyBudget, Reservation
from service.http.upload_pace import Pace

WAIT_SHARE = 0.5
"""The share of its time after which a body that waits for memory is refused: the rest would be too short to send it."""

GROWTH_SECONDS = 5.0
"""The longest that a body waits for more memory: those that hold some and wait for more can keep each other waiting."""


class Upload:
    """The body of one request: its share of the memory for bodies, and its time."""

    def __init__(self, budget: BodyBudget, pace: Pace) -> None:
        self._budget = budget
        self._reservation: Reservation = budget.open()
        self.pace = pace

    async def reserve(self, size: int, seconds: float) -> None:
        """Reserve `size` bytes before the first is read. Raises TooManyUploads after a share of `seconds`."""
        await self._budget.grow(self._reservation, size, WAIT_SHARE * seconds)

    async def grow(self, size: int, seconds: float) -> None:
        """Reserve `size` bytes in all while the body is read. Raises TooManyUploads.

        `seconds` are left for the body.
        """
        await self._budget.grow(self._reservation, size, min(GROWTH_SECONDS, WAIT_SHARE * seconds))

    def release(self) -> None:
        """The body is no longer in memory."""
        self._budget.release(self._reservation)


class BodyReservation:
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
