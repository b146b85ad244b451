"""Measures durations of work on a CPU or a GPU."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch


def selected(device: torch.device) -> AbstractContextManager[object]:
    """For the length of the block events are recorded on this device; otherwise those of a second GPU on the first."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def time_call(operation: Callable[[], object]) -> float:
    """The duration of one call, in seconds."""
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


class Stopwatch:
    """Measures intervals of work on a device: by CUDA events on a GPU, else by the system clock.

    Each interval takes two calls of `mark`, at its start and at its end.
    """

    def __init__(self, on: torch.device) -> None:
        self._cuda = on.type == "cuda"
        self._marks: list[float] = []
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Start or end an interval."""
        if not self._cuda:
            self._marks.append(time.perf_counter())
            return
        self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[-1].record()

    def laps(self) -> list[float]:
        """The durations, in seconds, of the intervals since the last call. Raises ValueError if one has not ended."""
        if self._cuda:
            torch.cuda.synchronize()
            first = self._events[:1]
            self._marks = [start.elapsed_time(event) / 1000 for start in first for event in self._events]
        marks, self._marks, self._events = self._marks, [], []
        return [end - begin for begin, end in zip(marks[::2], marks[1::2], strict=True)]
