"""How far a training is, and how long the rest of it takes."""

from collections import deque
from collections.abc import Callable
from statistics import median

WINDOW = 21
"""Measurements of which the median is taken: previews and saved states, which take longer, do not move it."""


class Progress:
    """Steps done, and the median time of one. Times are measured between points where the device has finished."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds from any point of time."""
        self.step = self.steps = 0
        self._clock = clock
        self._measured_at = (0, 0.0)
        self._seconds: deque[float] = deque(maxlen=WINDOW)

    def begin(self, step: int, steps: int) -> None:
        """Go on after `step`, up to `steps`."""
        self.step, self.steps = step, steps
        self._measured_at = (step, self._clock())

    def advance(self, step: int) -> None:
        """A step is done, or given to the device."""
        self.step = step

    def measure(self) -> None:
        """All steps since the last measurement are done."""
        (step, at), now = self._measured_at, self._clock()
        if self.step > step:
            self._seconds.append((now - at) / (self.step - step))
        self._measured_at = (self.step, now)

    @property
    def seconds_per_step(self) -> float | None:
        """The median; None before the first measurement."""
        seconds = list(self._seconds)
        return median(seconds) if seconds else None

    @property
    def seconds_left(self) -> float | None:
        """For the steps that are left; None before the first measurement."""
        each = self.seconds_per_step
        return None if each is None else each * (self.steps - self.step)
