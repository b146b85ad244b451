"""How long clients wait for their answers before they leave, as observed."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from time import monotonic

CLIENT_LEFT = "the client has left"
"""The message with which work is cancelled (`Task.cancel`) because its client has left.

Work that is cancelled for another reason, such as an image beside it that cannot be read, tells nothing of how long
clients wait.
"""


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
        self._seen: deque[tuple[float, float, bool]] = deque()
        """When each was seen, how long it waited, and whether it left: in the order in which they were seen."""
        self._by_wait: list[tuple[float, bool]] = []
        """The same waits, sorted; who was answered comes before who left after the same time."""
        self._left = 0

    def observe(self, waited: float, *, left: bool) -> None:
        """A client has left, or has been answered, after `waited` seconds."""
        if len(self._seen) == self.CAPACITY:
            self._forget_oldest()
        self._seen.append((self._clock(), waited, left))
        insort(self._by_wait, (waited, left))
        self._left += left

    def seconds(self) -> float:
        """The time after which more than four fifths of the clients have left; infinite where none is known."""
        since = self._clock() - self._window
        while self._seen and self._seen[0][0] <= since:
            self._forget_oldest()
        return self._estimate() if self._left else math.inf

    def _estimate(self) -> float:
        present = 1.0
        for there, (waited, left) in zip(
            range(len(self._by_wait), self.FEWEST_SEEN - 1, -1), self._by_wait, strict=False
        ):
            if left:
                present *= 1 - 1 / there
                if present < self.PRESENT:
                    return waited
        return math.inf

    def _forget_oldest(self) -> None:
        _, waited, left = self._seen.popleft()
        self._left -= left
        del self._by_wait[bisect_left(self._by_wait, (waited, left))]
