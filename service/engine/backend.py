"""The interface between the runner and a device: batches of planes through a network, integers in, integers out.

The bytes of an answer do not depend on what else is running, nor on which of several GPUs computes it. One exception:
where a GPU has run out of memory, all of them use smaller batches from then on, which can change last bits. On a CPU
every plane runs alone, and neither threads nor lanes change a bit (`benchmarks/RESULTS.md`). On a GPU libraries choose
their algorithms by the size of the batch, so that each shape of plane runs in batches of one fixed size, padded where
there are fewer tiles.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from model_store import Network, TransformNetwork
from service.imaging.pixels import Pixels

DType = np.dtype[Any]


class Backend(Protocol):
    """Runs networks on one device, called from several threads."""

    def lane(self, exclusive: bool) -> AbstractContextManager[None]:
        """For the length of the block the calling thread has a lane, or all of them where it is `exclusive`."""

    def run(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int = 1
    ) -> list[Pixels | None]:
        """The network's outputs for planes (H, W, 3) of one shape and type; None for an output that is not finite.

        `statistics`: (N, 2, K) for networks that need them. `fixed_batch`: planes that each batch computes.
        """

    def run_eager(self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None) -> list[Pixels | None]:
        """The same with the least memory: no batch is padded, nothing is captured or kept for later."""

    def keep_batch(self, network: Network, shape: Sequence[int], sample: DType) -> None:
        """Free what is kept for batches (N, H, W, 3) of other sizes: those of these planes run in this one from now on.

        `sample`: uint8 or uint16.
        """

    def forget(self, network: Network) -> None:
        """Free what is kept for batches of networks of this architecture and precision."""

    def launch_lock(self) -> AbstractContextManager[None]:
        """For the length of the block no batch is launched: for what is computed outside of batches."""

    def statistics(self, network: TransformNetwork, thumbnail: Tensor) -> Tensor:
        """The thumbnail statistics (1, 2, K), on the device, of a thumbnail (1, 3, h, w) in host memory.

        Running batches are not waited for.
        """

    def reduce_memory(self, fixed_batch: int) -> None:
        """Memory ran out in a batch of `fixed_batch` planes: free what is kept for later, and use smaller batches."""

    def still_works(self) -> bool:
        """Whether the device works after an error of CUDA, which may be that of another GPU of this process."""


def forward_integers(network: Network, planes: Tensor, statistics: Tensor | None) -> tuple[Tensor, Tensor]:
    """uint8 or uint16 (N, H, W, 3) through the network: the same type, (N, H', W', 3), and which are finite, (N,)."""
    most = torch.iinfo(planes.dtype).max
    output = network.transform(planes.permute(0, 3, 1, 2).float().div_(most), statistics)
    finite = torch.isfinite(output.sum((1, 2, 3)))
    pixels = output.mul_(most).round_().clamp_(0, most).to(planes.dtype)
    return pixels.permute(0, 2, 3, 1).contiguous(), finite
