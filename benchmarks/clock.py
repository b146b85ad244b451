"""How long something takes, on a processor or on a GPU."""

import time
from collections.abc import Callable

import torch


def timed(operation: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


class Stopwatch:
    """Times stretches of work on a device, by its own clock where it has one. Each begins and ends with a mark."""

    def __init__(self, on: torch.device) -> None:
        self._cuda = on.type == "cuda"
        self._marks: list[float] = []
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """A stretch begins, or has ended."""
        if not self._cuda:
            self._marks.append(time.perf_counter())
            return
        self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[-1].record()

    def laps(self) -> list[float]:
        """Seconds of each stretch since this was last asked."""
        if self._cuda:
            torch.cuda.synchronize()
            first = self._events[:1]
            self._marks = [start.elapsed_time(event) / 1000 for start in first for event in self._events]
        marks, self._marks, self._events = self._marks, [], []
        return [end - begin for begin, end in zip(marks[::2], marks[1::2], strict=True)]
