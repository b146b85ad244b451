"""CUDA's streams and graphs, stood in for where there is no GPU: what is captured, what fails, and what that leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest
import torch

INVALIDATED = "CUDA error: operation failed due to a previous error during capture"


class SimulatedStream:
    """Remembers for which streams it waited."""

    def __init__(self, device: object = None) -> None:
        del device
        self.device = torch.device("cuda", 0)
        self.waited_for: list[SimulatedStream] = []

    def wait_stream(self, other: "SimulatedStream") -> None:
        self.waited_for.append(other)


class SimulatedGraph:
    """Counts its replays."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


class SimulatedCuda:
    """As torch 2.11: a capture in which anything failed fails at its end, too, and leaves its stream and its pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current = SimulatedStream()
        self.captures = 0
        self.capturing = False
        self.allocating: list[tuple[int, int]] = []
        """The pools of captures that the allocator takes to be underway."""
        self._allocating_host: list[tuple[int, int]] = []
        self._invalid = False
        for name, replacement in {
            "Stream": SimulatedStream,
            "CUDAGraph": SimulatedGraph,
            "graph": self._graph,
            "stream": self._stream,
            "current_stream": lambda _: self.current,
            "graph_pool_handle": partial(next, ((0, number) for number in count(1))),
        }.items():
            monkeypatch.setattr(torch.cuda, name, replacement)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self._end_allocation)  # noqa: SLF001

    def wait(self) -> None:
        """What a capture does not allow."""
        if self.capturing:
            self._invalid = True
            raise torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing")

    @contextmanager
    def _stream(self, stream: SimulatedStream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def _graph(self, graph: object, pool: tuple[int, int], stream: SimulatedStream, **options: Any) -> Iterator[None]:
        assert isinstance(graph, SimulatedGraph)
        assert options == {"capture_error_mode": "thread_local"}
        if pool in self.allocating + self._allocating_host:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        self.captures += 1
        before, self.current, self.capturing, self._invalid = self.current, stream, True, False
        self.allocating.append(pool)
        self._allocating_host.append(pool)
        try:
            yield
        finally:
            self.capturing = False
            if self._invalid:
                raise torch.AcceleratorError(INVALIDATED)
            self.allocating.remove(pool)
            self._allocating_host.remove(pool)
            self.current = before

    def _end_allocation(self, device: int, pool: tuple[int, int]) -> None:
        assert device == 0
        if pool not in self.allocating:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.allocating.remove(pool)
