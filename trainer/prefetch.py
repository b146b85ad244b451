"""Batches that threads prepare ahead of their use: decoding and resampling release Python's lock."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from model_store.processors import available_cpus

MOST_WORKERS = 8
"""Threads by default."""


@dataclass(frozen=True)
class Prefetch:
    """How batches are prepared: by how many threads, and for which kind of device."""

    workers: int = 1
    pinned: bool = False
    """Whether in page-locked memory, from which a GPU copies while it computes."""

    @classmethod
    def of(cls, workers: int, device: torch.device) -> "Prefetch":
        """For the option --workers: 0 is half of the processors, at most MOST_WORKERS."""
        return cls(workers or workers_for(available_cpus()), device.type == "cuda")

    def batches(self, prepare: Callable[[int], Tensor], steps: range) -> Iterator[Tensor]:
        """What `prepare` returns for each step, in order. While one is used, as many as there are threads are prepared.

        What `prepare` raises is raised in its place.
        """
        remaining = iter(steps)
        with self._threads() as pool:
            coming = deque(pool.submit(self._prepared, prepare, step) for step in islice(remaining, self.workers))
            try:
                while coming:
                    batch = coming.popleft().result()
                    coming.extend(pool.submit(self._prepared, prepare, step) for step in islice(remaining, 1))
                    yield batch
            finally:
                pool.shutdown(cancel_futures=True)

    def _prepared(self, prepare: Callable[[int], Tensor], step: int) -> Tensor:
        batch = prepare(step)
        return batch.pin_memory() if self.pinned else batch

    def _threads(self) -> ThreadPoolExecutor:
        """Several threads compute with a processor each: torch would start a team of threads for each of them."""
        if self.workers == 1:
            return ThreadPoolExecutor(1, "photographs")
        return ThreadPoolExecutor(self.workers, "photographs", torch.set_num_threads, (1,))


ONE_AHEAD = Prefetch()


def workers_for(processors: int) -> int:
    """The threads that prepare photographs by default: the others compute, or launch what a GPU computes."""
    return max(1, min(MOST_WORKERS, processors // 2))
