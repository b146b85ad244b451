"""Waits while the service is unavailable, for a limited time."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic


class Outage:
    """The current outage of the service, shared by all images in flight. `notify` gets a line when one begins."""

    def __init__(
        self,
        patience: float,
        notify: Callable[[str], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.patience = patience
        """Longest outage, in seconds, that is waited for."""
        self.sleep = sleep
        self._notify = notify
        self._began: float | None = None

    def end(self) -> None:
        """Note that the service has answered."""
        self._began = None

    async def wait(self, seconds: float, sent_at: float, reason: str) -> bool:
        """Wait up to `seconds` after a request, sent at `sent_at` (`time.monotonic`), that failed for `reason`.

        Returns False, without waiting, if the patience had run out before the request was sent. So one last request
        is always sent after it has run out.
        """
        since = self._begin(reason)
        if max(sent_at - since, 0.0) >= self.patience:
            return False
        await self.sleep(min(seconds, max(since + self.patience - monotonic(), 0.0)))
        return True

    def _begin(self, reason: str) -> float:
        if self._began is None:
            self._began = monotonic()
            if self.patience:
                self._notify(f"waiting up to {self.patience:g} s for the service: {reason}")
        return self._began
