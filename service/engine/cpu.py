"""The backend of a CPU: lanes that share its threads, and every plane alone."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import Empty, PriorityQueue

import numpy as np
import torch
from torch import Tensor

from model_store import Network, TransformNetwork
from model_store.allocator import trim_heap
from service.engine.backend import DType, forward_integers
from service.imaging.pixels import Pixels


class CpuBackend:
    """Runs every plane alone, since batches gain nothing on a CPU. See `Backend`."""

    def __init__(self, threads: int, lanes: int) -> None:
        """`threads` of the processor are shared by `lanes`; an exclusive batch has all of them."""
        self._threads = threads
        self._smallest = max(1, threads // lanes)
        self._free_lanes: PriorityQueue[int] = PriorityQueue()
        """The threads of each free lane, negated: the queue gives the lane with the most first."""
        for lane in range(lanes):
            self._free_lanes.put(-max(1, threads // lanes + (lane < threads % lanes)))

    @contextmanager
    def lane(self, exclusive: bool) -> Iterator[None]:
        """OpenMP keeps its number of threads per calling thread, so that it is set here.

        A caller for whom no lane is free, such as the thread that loads networks, gets as many as the smallest lane.
        """
        if exclusive:
            torch.set_num_threads(self._threads)
            yield
            return
        with self._free_lane() as threads:
            torch.set_num_threads(threads)
            yield

    def run(
        self,
        network: Network,
        planes: Sequence[Pixels],
        statistics: Tensor | None,
        fixed_batch: int = 1,  # noqa: ARG002 # nothing is padded
    ) -> list[Pixels | None]:
        """See `Backend`."""
        return self.run_eager(network, planes, statistics)

    def run_eager(self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None) -> list[Pixels | None]:
        """See `Backend`."""
        each = [None] * len(planes) if statistics is None else statistics.split(1)
        return [self._run_one(network, plane, own) for plane, own in zip(planes, each, strict=True)]

    def keep_batch(self, network: Network, shape: Sequence[int], sample: DType) -> None:
        """See `Backend`; nothing is kept."""

    def forget(self, network: Network) -> None:
        """See `Backend`; nothing is kept."""

    def launch_lock(self) -> AbstractContextManager[None]:
        """See `Backend`; lanes of a CPU do not disturb one another."""
        return nullcontext()

    def statistics(self, network: TransformNetwork, thumbnail: Tensor) -> Tensor:
        """See `Backend`."""
        return network.statistics(thumbnail)

    def reduce_memory(self, fixed_batch: int) -> None:  # noqa: ARG002
        """See `Backend`; a single plane cannot be made smaller."""
        trim_heap()

    def still_works(self) -> bool:
        """See `Backend`; errors of CUDA are those of GPUs."""
        return False

    @contextmanager
    def _free_lane(self) -> Iterator[int]:
        """The threads of a free lane."""
        try:
            share = self._free_lanes.get_nowait()
        except Empty:
            yield self._smallest
            return
        try:
            yield -share
        finally:
            self._free_lanes.put(share)

    def _run_one(self, network: Network, plane: Pixels, statistics: Tensor | None) -> Pixels | None:
        output, finite = forward_integers(network, torch.from_numpy(np.stack([plane])), statistics)
        result: Pixels = output[0].numpy()
        return result if bool(finite) else None
