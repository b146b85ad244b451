"""How long a service that is away is waited for."""

from collections.abc import Callable


class Outage:
    """The current outage of the service, shared by all requests in flight. `notify` gets a line when one begins."""

    def __init__(self, patience: float, notify: Callable[[str], None] | None = None) -> None:
        self.patience = patience
        """Longest outage, in seconds, that is waited for."""
        self._notify = notify
        self._began: float | None = None

    def end(self) -> None:
        """Note that the service has answered."""
        self._began = None

    def pause(self, seconds: float, sent_at: float, now: float, reason: str) -> float | None:
        """How long to wait, up to `seconds`, after a request, sent at `sent_at`, that failed for `reason`.

        None where the patience had run out before the request was sent. So one last request is always sent after it
        has run out. `sent_at` and `now` are times of one clock.
        """
        since = self._begin(now, reason)
        if max(sent_at - since, 0.0) >= self.patience:
            return None
        return min(seconds, max(since + self.patience - now, 0.0))

    def _begin(self, now: float, reason: str) -> float:
        if self._began is None:
            self._began = now
            if self.patience and self._notify:
                self._notify(f"waiting up to {self.patience:g} s for the service: {reason}")
        return self._began
