"""A token bucket that may go into debt: what a request costs is known only after it was let in."""

import math
from collections.abc import Callable
from time import monotonic


class TokenBucket:
    """Fills at a constant rate, up to what a minute fills. Not thread-safe.

    A request is let in while one unit is there, whatever it costs: a large one leaves a debt, and none is let in
    until that is paid. So the rate holds in the long run, and no request is too large for a bucket.
    """

    WINDOW = 60
    """Seconds in which an empty bucket is full."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = monotonic) -> None:
        self.capacity = per_minute
        self._rate = per_minute / self.WINDOW
        self._clock = clock
        self._balance, self._at = per_minute, clock()

    def balance(self) -> float:
        """The balance now; a debt is negative."""
        now = self._clock()
        self._balance, self._at = min(self.capacity, self._balance + (now - self._at) * self._rate), now
        return self._balance

    def wait(self) -> int:
        """Whole seconds until a request is let in; 0 where it is let in now."""
        return max(0, math.ceil((1 - self.balance()) / self._rate))

    def take(self, cost: float) -> None:
        """Take what a request costs, or give it back where the cost is negative."""
        self._balance = min(self.capacity, self.balance() - cost)

    def full_in(self) -> int:
        """Whole seconds until it is full."""
        return math.ceil((self.capacity - self.balance()) / self._rate)
