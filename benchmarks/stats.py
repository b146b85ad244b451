"""Medians and percentiles of measured times."""

import math
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed (nearest rank); NaN for no values.

    It is not interpolated, so it is always one of the values.
    """
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    """The median; NaN for no values."""
    return statistics.median(values) if values else math.nan


def in_milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """The 50th, 95th and 99th percentiles of `seconds`, in milliseconds, as columns of a table."""
    return {f"p{share} ms": 1000 * percentile(seconds, share / 100) for share in (50, 95, 99)}
