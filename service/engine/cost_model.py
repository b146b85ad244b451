"""How long batches take: a linear model, fitted when a network is warmed up and corrected by every batch after that."""

import math
from collections.abc import Sequence

SMOOTHING = 0.85
"""Weight of the present correction against that of a new measurement (exponential smoothing of logarithms)."""

LARGEST_SURPRISE = math.log(8)
"""A measurement counts as at most eight times its prediction, or an eighth: other processes may have interrupted it."""


class CostModel:
    """Seconds of batches: (a · batches + b · pixels of their planes) · correction.

    The time of several batches is therefore that of their sums, whatever the shapes of their planes. There is one
    correction for batches on one lane, and one for exclusive batches, which have all lanes.
    """

    def __init__(self, fixed: float, per_pixel: float, speed_up: float = 1.0) -> None:
        """`fixed` (a) and `per_pixel` (b) in seconds on one lane; `speed_up`: how much faster an exclusive batch is."""
        self._fixed = fixed
        self._per_pixel = per_pixel
        self._correction = {False: 1.0, True: 1.0 / speed_up}

    @classmethod
    def fit(cls, measured: Sequence[tuple[int, float]], speed_up: float = 1.0) -> "CostModel":
        """The least-squares line through measured batches (pixels, seconds), with neither coefficient below zero."""
        count, pixels = len(measured), sum(p for p, _ in measured)
        mean = sum(s for _, s in measured) / count
        spread = sum((p - pixels / count) ** 2 for p, _ in measured)
        covariance = sum((p - pixels / count) * (s - mean) for p, s in measured)
        slope = covariance / spread if spread else 0.0
        fixed = mean - slope * pixels / count
        if slope <= 0 or fixed < 0:
            return cls(0.0, mean * count / pixels, speed_up)
        return cls(fixed, slope, speed_up)

    def seconds(self, pixels: float, batches: float = 1, *, exclusive: bool = False) -> float:
        """The predicted time of batches that run one after another, over planes of `pixels` in all."""
        return (self._fixed * batches + self._per_pixel * pixels) * self._correction[exclusive]

    def update(self, pixels: float, seconds: float, batches: float = 1, *, exclusive: bool = False) -> None:
        """Correct the predictions by the `seconds` that `batches` have taken."""
        surprise = math.log(max(seconds, 1e-9) / max(self.seconds(pixels, batches, exclusive=exclusive), 1e-9))
        surprise = min(max(surprise, -LARGEST_SURPRISE), LARGEST_SURPRISE)
        self._correction[exclusive] *= math.exp((1 - SMOOTHING) * surprise)
