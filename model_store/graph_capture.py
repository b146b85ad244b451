"""Captures of CUDA graphs, which leave the process as it was where they fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import torch

Result = TypeVar("Result")


class GraphCapture:
    """Captures graphs on one device, on a stream of its own; their intermediate values share one memory pool.

    The stream is separate, since whatever another thread launches on a stream during a capture becomes part of the
    graph.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Callable[[], Result]) -> Result:
        """Compute `work` where it will be captured, after what was launched on the current stream and before the rest.

        Libraries choose their algorithms and allocate memory by stream and thread, which no capture allows.
        """
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    @contextmanager
    def capture(self) -> Iterator[torch.cuda.CUDAGraph]:
        """A graph of what the block launches, which is not computed yet. Other threads go on meanwhile.

        Where that fails the current stream is what it was, and memory is freed as before. By itself torch leaves the
        stream of the capture, and up to 2.12 its allocator goes on as in a capture: what several streams have used is
        never free again, and no cached memory is given back where more is needed (pytorch#180395).
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                yield graph
        except BaseException:
            self._end_allocation()
            raise

    def _end_allocation(self) -> None:
        """Also where torch has not done so; its allocator of page-locked memory would not take the pool once more."""
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(self._stream.device.index, self._pool)  # noqa: SLF001
        self._pool = torch.cuda.graph_pool_handle()
