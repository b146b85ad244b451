"""How fast a body must arrive."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Self

from starlette.types import Receive

from service.errors import BodyTimeout, ClientGone
from service.settings import Settings


@dataclass(frozen=True)
class Pace:
    """How fast a body must arrive, on average over the last seconds."""

    bytes_per_second: float
    seconds: float = 10.0
    """Also the time until its first bytes must be there."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The pace from the settings."""
        return cls(settings.min_bytes_per_second)

    def for_body(self, length: int, seconds: float) -> "Pace":
        """The pace of a body of `length` bytes that has `seconds`: at least half the rate that it needs to be complete.

        A slower one would hold the memory that is reserved for it, and never be complete.
        """
        return replace(self, bytes_per_second=max(self.bytes_per_second, length / seconds / 2))

    async def chunks(self, receive: Receive, began: float, seconds: float) -> AsyncGenerator[bytes, None]:
        """The body, as long as it comes fast enough, and within `seconds` of `began` (the event loop's clock).

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
                late = BodyTimeout(f"the body must arrive within {seconds:.12g} s")
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
