"""The processes of one training, as torchrun starts them: each computes its part of every batch.

All hold the same weights and the same state of the optimiser. Only the first writes files, shows and publishes.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.errors import RankLost, TrainerError

Value = TypeVar("Value")

CPU = torch.device("cpu")

LONGEST_WAIT = timedelta(minutes=30)
"""How long a process waits for one that is alive: longer than publishing with validation images takes."""


@dataclass(frozen=True)
class Ranks:
    """This process among all that train one network; by default the only one."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Ranks":
        """As torchrun tells each process it starts; the only one where it is not started by it."""
        return cls(int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1")))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, batch: int) -> range:
        """The places in a batch of the images that this process computes."""
        size = batch // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def check(self, batch: int, parts: int) -> None:
        """Raise TrainerError unless every process gets equally many images, in `parts` equal parts."""
        if batch % (self.count * parts):
            within = f" in {parts} parts each (--accumulate)" if parts > 1 else ""
            raise TrainerError(
                f"--batch {batch} cannot be divided among {self.count} processes{within}; it is the batch of all "
                f"processes together, a multiple of {self.count * parts}"
            )

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What `make` returns in the first process, where alone it is called; tensors are on the CPU."""
        if self.count == 1:
            return make()
        held = [make() if self.is_first else None]
        dist.broadcast_object_list(held, src=0, device=CPU)
        return held[0]  # type: ignore[return-value] # that of the first process

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors of one device by their means over the processes, in one exchange."""
        if self.count == 1:
            return
        together = torch.cat([tensor.detach().float().flatten() for tensor in tensors]) / self.count
        dist.all_reduce(together)
        parts = together.split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, parts, strict=True):
            tensor.detach().copy_(mean.view_as(tensor))


def mean_over_ranks(statistic: Tensor) -> Tensor:
    """The mean over the processes of what each computed of its images; the statistic itself in one process.

    Its gradient is such that the mean of the processes' gradients is that of one process with the whole batch.
    """
    if not dist.is_initialized():
        return statistic
    mean: Tensor = _SumOverRanks.apply(statistic / dist.get_world_size())
    return mean


class _SumOverRanks(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: object, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    def backward(_: object, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(value: Tensor) -> Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun has started, if it has; they exchange by NCCL on GPUs, else by gloo.

    Raises RankLost in the block where another process has ended or does not answer.
    """
    ranks = Ranks.of(os.environ)
    if ranks.count == 1:
        yield ranks
        return
    with _loss_of_ranks(ranks):
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
        try:
            yield ranks
        finally:
            dist.destroy_process_group()


@contextmanager
def _loss_of_ranks(ranks: Ranks) -> Iterator[None]:
    """Turn the errors of torch.distributed, which gloo raises as RuntimeError, into RankLost."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise RankLost(
            f"process {ranks.rank} of {ranks.count}: another process of this training has ended or does not answer, so "
            f"this one ends too; the last saved state is whole, and --resume goes on from it ({error})"
        ) from error


def device_of_rank(device: str, environment: Mapping[str, str]) -> str:
    """The option --device for one process of several on a machine: with GPUs each has its own.

    Raises TrainerError where one GPU is asked for by number, and where there are fewer GPUs than processes.
    """
    local, count = int(environment.get("LOCAL_RANK", "0")), int(environment.get("LOCAL_WORLD_SIZE", "1"))
    wants_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if count == 1 or not wants_gpu:
        return device
    if ":" in device:
        raise TrainerError(f"--device {device} is one GPU, and torchrun started {count} processes; give --device cuda")
    if count > torch.cuda.device_count():
        raise TrainerError(
            f"torchrun started {count} processes, and torch finds {torch.cuda.device_count()} GPUs; start as many as "
            "there are GPUs, or give --device cpu"
        )
    return f"cuda:{local}"
