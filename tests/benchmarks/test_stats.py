"""Percentiles are measured values."""

import math

from benchmarks.stats import in_milliseconds, median, percentile


def test_percentile_is_the_nearest_rank() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0, 0.2, 0.21, 0.5, 0.99, 1)] == [1, 1, 2, 3, 5, 5]


def test_percentile_of_a_hundred_leaves_out_the_worst() -> None:
    assert percentile([float(i) for i in range(1, 101)], 0.99) == 99


def test_nothing_measured_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))
    assert math.isnan(median([]))


def test_columns_are_milliseconds() -> None:
    assert in_milliseconds([0.25] * 3) == {"p50 ms": 250, "p95 ms": 250, "p99 ms": 250}
