"""A batch of planes through a network: bytes in, bytes out. What differs between a CPU and a GPU is here.

The bytes of an answer do not depend on the load. On a CPU every plane runs alone, and neither threads nor lanes change
a bit (`benchmarks/RESULTS.md` has the table). On a GPU libraries choose their algorithms by the size of the batch, so
that each shape of plane runs in batches of one fixed size, filled up where there are fewer tiles.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model_store import TransformNetwork
from service.codec import Pixels


class Forward(Protocol):
    """Runs networks on one device, from several threads."""

    def place(self, alone: bool) -> AbstractContextManager[None]:
        """A lane, or the whole device where a pass is alone on it, for the length of the block."""

    def __call__(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None
    ) -> list[Pixels | None]:
        """What the network makes of planes of one shape; None for one that is not finite."""

    def eager(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None
    ) -> list[Pixels | None]:
        """The same, once, without preparations that pay only when they are repeated."""

    def shrink(self) -> None:
        """Memory has run out: give back what is only kept for later, and take less from now on."""


class OnCpu:
    """Every plane alone: batches gain nothing there."""

    def __init__(self, threads: int, lanes: int) -> None:
        self._threads = threads
        self._per_lane = max(1, threads // lanes)

    @contextmanager
    def place(self, alone: bool) -> Iterator[None]:
        """OpenMP's threads belong to the thread that starts them, and so does their number."""
        torch.set_num_threads(self._threads if alone else self._per_lane)
        yield

    def __call__(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None
    ) -> list[Pixels | None]:
        each = [None] * len(planes) if statistics is None else statistics.split(1)
        return [self._one(network, plane, own) for plane, own in zip(planes, each, strict=True)]

    eager = __call__

    def shrink(self) -> None:
        """As `Forward` says; a single plane cannot become less."""

    def _one(self, network: TransformNetwork, plane: Pixels, statistics: Tensor | None) -> Pixels | None:
        output, finite = computed(network, torch.from_numpy(np.stack([plane])), statistics)
        result: Pixels = output[0].numpy()
        return result if bool(finite) else None


def computed(network: TransformNetwork, planes: Tensor, statistics: Tensor | None) -> tuple[Tensor, Tensor]:
    """uint8 (N, H, W, 3) through the network: uint8 (N, H', W', 3), and whether each of the N is finite."""
    output = network.transform(planes.permute(0, 3, 1, 2).float().div_(255), statistics)
    finite = torch.isfinite(output.sum((1, 2, 3)))
    pixels = output.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous(), finite
