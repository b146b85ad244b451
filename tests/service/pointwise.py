"""Models whose planes are their tiles, for tests that decide on work without doing it."""

from dataclasses import dataclass

from model_store import NetworkSpec, TransformNetwork
from service.cost import Cost
from service.tiling import TileSizes, Tiling

ARCHITECTURES = {1: "c1s1-3", 2: "c1s1-12,p2"}
"""By scale; a pixel of the output depends on one pixel alone."""


@dataclass(frozen=True, eq=False)
class Model:
    """What the batcher knows of a model."""

    name: str
    scale: int
    tiling: Tiling
    cost: Cost


def model(
    name: str = "wave",
    scale: int = 1,
    tile: int = 10**6,
    fixed: float = 0.0,
    per_pixel: float = 0.0,
    batch: int = 1,
    ladder: tuple[int, ...] = (),
) -> Model:
    """A model with tiles of so many pixels at most, which share a pass up to so many pixels.

    A pass takes `fixed` + pixels · `per_pixel` seconds. With a `ladder` of sides, passes are filled up.
    """
    network = TransformNetwork(NetworkSpec(architecture=ARCHITECTURES[scale], norm="none"))
    footprint = {1: 6, 2: 24}[scale]
    sizes = TileSizes(tile * footprint, ladder, batch * footprint)
    return Model(name, scale, Tiling(network, sizes), Cost(fixed, per_pixel))
