"""Wakes all who wait for a change."""

import asyncio
from contextlib import suppress


class Listener:
    """Hears of the next change after it was made, so that none is missed between a look and a wait."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float | None) -> None:
        """Until the next change, or for so long; None: for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()


class Signal:
    """Tells listeners that something has changed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def listen(self) -> Listener:
        """Hear of the next change."""
        return Listener(self._event)

    def notify(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = asyncio.Event()
