"""A recorder of steps for a CPU, with what a CUDA graph allows and how it computes again."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")

UNCAPTURABLE = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output, torch.Tag.nondeterministic_seeded}
"""Operations whose sizes follow from values, whose values the host reads, and that draw numbers of their own."""


class CpuRecorder:
    """Records operations with their numbers and sizes as they are, and repeats them on the same tensors."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def warm_up(self, work: Callable[[], Result]) -> Result:
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        with _Recording() as recording:
            result = work()
        self.recorded += 1

        def replay() -> None:
            recording.replay()
            self.replayed += 1

        return result, replay


class FailingRecorder(CpuRecorder):
    """Fails after it has computed."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        super().record(work)
        raise RuntimeError("operation not permitted when stream is capturing")


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # of torch
        self._calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if UNCAPTURABLE & {*func.tags} or func is torch.ops.aten.lift_fresh.default:  # numbers from Python, copied
            raise RuntimeError(f"{func} cannot be captured")
        result = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self._calls:
            if not func.is_view:
                self._repeat(func(*args, **kwargs), result)

    def _repeat(self, again: Any, result: Any) -> None:
        for found, place in zip(_tensors(again), _tensors(result), strict=True):
            if found is not place:
                place.copy_(found)


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [tensor for each in result or () for tensor in _tensors(each)] if isinstance(result, list | tuple) else []
