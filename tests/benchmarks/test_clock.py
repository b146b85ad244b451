"""Durations on both kinds of device."""

import time

import pytest
import torch

from benchmarks.clock import Stopwatch, time_call


def test_a_call_is_timed_in_seconds() -> None:
    assert 0.05 <= time_call(lambda: time.sleep(0.05)) < 30


def test_laps_are_the_intervals_between_pairs_of_marks() -> None:
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        watch.mark()
        time.sleep(0.05)
        watch.mark()
        time.sleep(0.01)
    first, second = watch.laps()
    assert min(first, second) >= 0.05
    assert watch.laps() == []


def test_an_interval_without_an_end_is_an_error() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.mark()
    with pytest.raises(ValueError, match="zip"):
        watch.laps()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_timed_by_its_own_clock() -> None:
    watch = Stopwatch(torch.device("cuda"))
    plane = torch.rand(1024, 1024, device="cuda")
    watch.mark()
    torch.mm(plane, plane)
    watch.mark()
    (seconds,) = watch.laps()
    assert 0 < seconds < 30
