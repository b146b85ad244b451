"""What changes from step to step, apart from the weights: a batch, and what was drawn at random for it."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor


@dataclass(frozen=True)
class StepInputs:
    """What the losses of a step are computed from."""

    tensors: Mapping[str, Tensor]
    """By name, on the device: the values that differ from step to step."""
    constants: Mapping[str, float] = field(default_factory=dict)
    """What decides which operations compute the losses."""

    @property
    def key(self) -> Hashable:
        """Equal where the same operations on tensors of the same shapes compute the losses."""
        shapes = [(name, tensor.shape, tensor.dtype) for name, tensor in self.tensors.items()]
        return tuple(shapes), tuple(self.constants.items())

    def clone(self) -> Self:
        """The same values in memory of their own."""
        return replace(self, tensors={name: tensor.clone() for name, tensor in self.tensors.items()})
