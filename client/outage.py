"""The service is away: for how long it is waited for."""

import asyncio
from collections.abc import Callable
from time import monotonic


class Outage:
    """The time in which the service is away, one for all images that are on their way."""

    def __init__(self, patience: float, tell: Callable[[str], None]) -> None:
        self.patience = patience
        """Seconds for which one outage is borne."""
        self._tell = tell
        self._since: float | None = None

    def end(self) -> None:
        """Note that the service has answered."""
        self._since = None

    async def wait(self, seconds: float, asked: float, reason: str) -> bool:
        """Wait after a request that was sent at `asked` and found nobody; False, at once, where patience is at an end.

        Whoever waits is told so when an outage begins. Requests that were sent before patience ran out do not end it,
        however long they took: at least one is always sent when it has run out.
        """
        since = self._begun(reason)
        if max(asked - since, 0.0) >= self.patience:
            return False
        await asyncio.sleep(min(seconds, max(since + self.patience - monotonic(), 0.0)))
        return True

    def _begun(self, reason: str) -> float:
        if self._since is None:
            self._since = monotonic()
            if self.patience:
                self._tell(f"waiting up to {self.patience:g} s for the service: {reason}")
        return self._since
