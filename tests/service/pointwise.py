"""Models whose planes are their tiles, for tests that decide on work without doing it."""

from dataclasses import dataclass

from model_store import NetworkSpec, TransformNetwork
from service.engine.cost_model import CostModel
from service.engine.tiling import TileSizes, Tiling

ARCHITECTURES = {1: "c1s1-3", 2: "c1s1-12,p2"}
"""By scale; a pixel of the output depends on one pixel alone."""


@dataclass(frozen=True, eq=False)
class Model:
    """What the engine knows of a model."""

    name: str
    scale: int
    tiling: Tiling
    cost_model: CostModel


def model(
    name: str = "wave",
    scale: int = 1,
    tile: int = 10**6,
    fixed: float = 0.0,
    per_pixel: float = 0.0,
    speed_up: float = 1.0,
    batch: int = 1,
    sides: tuple[int, ...] = (),
) -> Model:
    """A model with tiles of at most `tile` pixels, in batches of at most `batch` pixels.

    A batch takes `fixed` + pixels · `per_pixel` seconds. Where there are `sides`, tiles are squares and batches padded.
    """
    network = TransformNetwork(NetworkSpec(architecture=ARCHITECTURES[scale], norm="none"))
    values = {1: 6, 2: 24}[scale]
    sizes = TileSizes(tile * values, sides, batch * values)
    return Model(name, scale, Tiling(network, sizes), CostModel(fixed, per_pixel, speed_up))
