"""An image for one network, before it is admitted: its tiles and their work.

Seconds of work are seconds of one lane.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from service.engine.cost_model import CostModel
from service.engine.tiling import Tile, Tiling


class EngineModel(Protocol):
    """What the engine must know about a model. Tiles share a batch only where this is the same object."""

    @property
    def name(self) -> str:
        """The metric label."""

    @property
    def scale(self) -> int:
        """Output side over input side."""

    @property
    def tiling(self) -> Tiling:
        """How its images are cut into tiles."""

    @property
    def cost_model(self) -> CostModel:
        """How long its batches take."""


Model = TypeVar("Model", bound=EngineModel)


@dataclass(frozen=True)
class InferenceSpec(Generic[Model]):
    """An image of `height` × `width` pixels for one network: an inference request before it is admitted."""

    model: Model
    height: int
    width: int
    answer_pixels: int = 0
    """Pixels of the answer, where the network's result is resized to it."""

    @property
    def output_pixels(self) -> int:
        """Pixels of the network's result or of the answer, whichever is larger."""
        return max(self.height * self.width * self.model.scale**2, self.answer_pixels)

    @cached_property
    def tiles(self) -> Sequence[Tile]:
        """Its tiles, planned once for all frames of an animation."""
        return self.model.tiling.plan(self.height, self.width)

    @cached_property
    def plane_pixels(self) -> int:
        """Pixels of the planes of all its tiles."""
        return sum(tile.pixels for tile in self.tiles)

    @cached_property
    def fixed_batch(self) -> int:
        """Planes that each of its batches computes; see `Tiling.fixed_batch`."""
        return self.model.tiling.fixed_batch(self.tiles[0])

    @property
    def work_seconds(self) -> float:
        """The work of all its tiles, as predicted now."""
        return self.model.cost_model.seconds(self.plane_pixels, len(self.tiles) / self.fixed_batch)
