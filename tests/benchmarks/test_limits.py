"""The limits of a device, measured with small operands."""

import torch

from benchmarks.limits import CPU, Sizes, bandwidth, peak, peaks

SMALL = Sizes(matrices=(16, 32), planes=(4, 8), copied=2**16)


def test_peak_is_the_larger_of_both_operations() -> None:
    found = peak(torch.float32, repetitions=2, sizes=SMALL)
    rates = float(found["torch.mm GFLOP/s"] or 0), float(found["convolution GFLOP/s"] or 0)
    assert found["precision"] == "float32"
    assert found["peak GFLOP/s"] == max(rates)
    assert min(rates) > 0


def test_peaks_are_those_of_both_precisions() -> None:
    assert [row["precision"] for row in peaks(repetitions=1, sizes=SMALL)] == ["float32", "bfloat16"]


def test_bandwidth_is_in_bytes_per_second() -> None:
    assert bandwidth(CPU, repetitions=2, sizes=SMALL) > 1e6
