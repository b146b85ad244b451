"""What a pass costs: a model of its time, fitted when a network is warmed up and corrected by every pass after that."""

import math
from collections.abc import Sequence

MEMORY = 0.85
"""Share of the correction that survives one more pass."""

LARGEST_SURPRISE = math.log(8)
"""A single pass, interrupted by something else on the machine, counts at most as eight times its prediction."""


class Cost:
    """Seconds of passes: (a · passes + b · pixels of their planes) · correction, on one lane and on all.

    The time of several passes is therefore that of their sums, whatever the shapes of their planes.
    """

    def __init__(self, fixed: float, per_pixel: float, speed_up: float = 1.0) -> None:
        """`fixed` (a) and `per_pixel` (b) in seconds on one lane; `speed_up` is what all lanes together gain."""
        self._fixed = fixed
        self._per_pixel = per_pixel
        self._correction = {False: 1.0, True: 1.0 / speed_up}

    @classmethod
    def fitted(cls, passes: Sequence[tuple[int, float]], speed_up: float = 1.0) -> "Cost":
        """The line through the passes (pixels, seconds) of least squares, neither part of it below zero."""
        count, pixels = len(passes), sum(p for p, _ in passes)
        mean = sum(s for _, s in passes) / count
        spread = sum((p - pixels / count) ** 2 for p, _ in passes)
        together = sum((p - pixels / count) * (s - mean) for p, s in passes)
        slope = together / spread if spread else 0.0
        fixed = mean - slope * pixels / count
        if slope <= 0 or fixed < 0:
            return cls(0.0, mean * count / pixels, speed_up)
        return cls(fixed, slope, speed_up)

    def copy(self) -> "Cost":
        """The same, to be corrected by itself."""
        other = Cost(self._fixed, self._per_pixel)
        other._correction = dict(self._correction)
        return other

    def seconds(self, pixels: float, passes: float = 1, *, alone: bool = False) -> float:
        """The prediction for so many passes, one after another, over planes of so many pixels in all.

        `alone` where they have all lanes; a share of a pass is a fraction of it.
        """
        return (self._fixed * passes + self._per_pixel * pixels) * self._correction[alone]

    def measured(self, pixels: float, seconds: float, passes: float = 1, *, alone: bool = False) -> None:
        """Correct the predictions by passes that took so long."""
        surprise = math.log(max(seconds, 1e-9) / max(self.seconds(pixels, passes, alone=alone), 1e-9))
        surprise = min(max(surprise, -LARGEST_SURPRISE), LARGEST_SURPRISE)
        self._correction[alone] *= math.exp((1 - MEMORY) * surprise)
