"""A batch of planes through a network: bytes in, bytes out. What differs between a CPU and a GPU is here.

The bytes of an answer do not depend on the load. On a CPU every plane runs alone, and neither threads nor lanes change
a bit (`benchmarks/RESULTS.md` has the table). On a GPU libraries choose their algorithms by the size of the batch, so
that each shape of plane runs in batches of one fixed size, filled up where there are fewer tiles.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import Empty, PriorityQueue
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model_store import TransformNetwork
from model_store.allocator import give_back
from service.photographs import Pixels


class Forward(Protocol):
    """Runs networks on one device, from several threads."""

    def place(self, alone: bool) -> AbstractContextManager[None]:
        """A lane, or the whole device where a pass is alone on it, for the length of the block."""

    def __call__(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None, full: int = 1
    ) -> list[Pixels | None]:
        """What the network makes of planes of one shape, of which a full pass has so many; None for one not finite."""

    def eager(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None
    ) -> list[Pixels | None]:
        """The same, once and in the least memory, without what pays only when it is repeated."""

    def launching(self) -> AbstractContextManager[None]:
        """For the length of the block no pass is begun: for what is computed beside the passes, and not waited for."""

    def uploaded(self, batch: Tensor) -> Tensor:
        """A tensor on the device; copying it holds nothing up."""

    def shrink(self, full: int) -> None:
        """Memory has run out in a full pass of so many planes: give back what is only kept for later, and take less."""


class OnCpu:
    """Every plane alone: batches gain nothing there."""

    def __init__(self, threads: int, lanes: int) -> None:
        self._threads = threads
        self._least = max(1, threads // lanes)
        self._shares: PriorityQueue[int] = PriorityQueue()
        """Threads of each lane on which nothing runs, negative, for the largest comes first; together all there are."""
        for lane in range(lanes):
            self._shares.put(-max(1, threads // lanes + (lane < threads % lanes)))

    @contextmanager
    def place(self, alone: bool) -> Iterator[None]:
        """OpenMP's threads belong to the thread that starts them, and so does their number.

        What comes when all lanes are taken, as a network that is being loaded does, has the share of the smallest.
        """
        if alone:
            torch.set_num_threads(self._threads)
            yield
            return
        with self._lane() as threads:
            torch.set_num_threads(threads)
            yield

    def __call__(
        self,
        network: TransformNetwork,
        planes: Sequence[Pixels],
        statistics: Tensor | None,
        full: int = 1,  # noqa: ARG002 # there is nothing to fill up
    ) -> list[Pixels | None]:
        each = [None] * len(planes) if statistics is None else statistics.split(1)
        return [self._one(network, plane, own) for plane, own in zip(planes, each, strict=True)]

    eager = __call__

    def launching(self) -> AbstractContextManager[None]:
        """As `Forward` says; lanes are in nobody's way here."""
        return nullcontext()

    def uploaded(self, batch: Tensor) -> Tensor:
        """As `Forward` says; it is there."""
        return batch

    def shrink(self, full: int) -> None:  # noqa: ARG002
        """As `Forward` says; a single plane cannot become less."""
        give_back()

    @contextmanager
    def _lane(self) -> Iterator[int]:
        """The threads of a lane that is free."""
        try:
            share = self._shares.get_nowait()
        except Empty:
            yield self._least
            return
        try:
            yield -share
        finally:
            self._shares.put(share)

    def _one(self, network: TransformNetwork, plane: Pixels, statistics: Tensor | None) -> Pixels | None:
        output, finite = computed(network, torch.from_numpy(np.stack([plane])), statistics)
        result: Pixels = output[0].numpy()
        return result if bool(finite) else None


def computed(network: TransformNetwork, planes: Tensor, statistics: Tensor | None) -> tuple[Tensor, Tensor]:
    """Integers (N, H, W, 3) through the network: the same, (N, H', W', 3), and whether each of the N is finite."""
    most = torch.iinfo(planes.dtype).max
    output = network.transform(planes.permute(0, 3, 1, 2).float().div_(most), statistics)
    finite = torch.isfinite(output.sum((1, 2, 3)))
    pixels = output.mul_(most).round_().clamp_(0, most).to(planes.dtype)
    return pixels.permute(0, 2, 3, 1).contiguous(), finite
