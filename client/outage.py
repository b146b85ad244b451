"""Waits while the service is away, for a limited time."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic


class Outage:
    """The time in which the service does not answer; one for all images that are being sent."""

    def __init__(
        self,
        patience: float,
        tell: Callable[[str], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.patience = patience
        """Seconds for which one outage is waited out."""
        self.sleep = sleep
        self._tell = tell
        self._since: float | None = None

    def end(self) -> None:
        """Note that the service has answered."""
        self._since = None

    async def wait(self, seconds: float, asked: float, reason: str) -> bool:
        """Wait after a request that was sent at `asked` (`time.monotonic`) without an answer.

        Returns False, at once, where patience has run out before that request was sent, so that one is always sent
        after it has run out. `tell` gets a line when an outage begins.
        """
        since = self._begin(reason)
        if max(asked - since, 0.0) >= self.patience:
            return False
        await self.sleep(min(seconds, max(since + self.patience - monotonic(), 0.0)))
        return True

    def _begin(self, reason: str) -> float:
        if self._since is None:
            self._since = monotonic()
            if self.patience:
                self._tell(f"waiting up to {self.patience:g} s for the service: {reason}")
        return self._since
