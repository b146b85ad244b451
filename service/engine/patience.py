"""How long clients wait for their answers before they leave, as observed."""

import math
from collections import deque
from collections.abc import Callable
from time import monotonic


class Patience:
    """How long clients that name no timeout wait before they leave, estimated from those of the last minutes.

    Where nearly all of them leave at some age, work that would end later is wasted. Clients that were answered count as
    present until then (the estimator of Kaplan and Meier, 1958), so that a few impatient ones decide nothing.
    """

    CAPACITY = 1024
    """Clients that are remembered at most."""
    PRESENT = 0.2
    """Clients are taken to have left at the age that fewer than this share reach."""
    FEWEST_SEEN = 3
    """Clients that must have been seen at an age before it counts."""

    def __init__(self, window_seconds: float = 300.0, clock: Callable[[], float] = monotonic) -> None:
        """A client is remembered for `window_seconds`.

        Patience is learned from clients that leave, and hardly any do once it is known: with a short window it would be
        forgotten, and a full device would have to learn it again.
        """
        self._window = window_seconds
        self._clock = clock
        self._seen: deque[tuple[float, float, bool]] = deque(maxlen=self.CAPACITY)

    def observe(self, waited: float, *, left: bool) -> None:
        """A client has left, or has been answered, after `waited` seconds."""
        self._seen.append((self._clock(), waited, left))

    def seconds(self) -> float:
        """The time after which more than four fifths of the clients have left; infinite where none is known."""
        since = self._clock() - self._window
        recent = sorted((waited, left) for at, waited, left in self._seen if at > since)
        present = 1.0
        for there, (waited, left) in zip(range(len(recent), self.FEWEST_SEEN - 1, -1), recent, strict=False):
            present *= 1 - left / there
            if present < self.PRESENT:
                return waited
        return math.inf
