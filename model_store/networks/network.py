"""A network as whoever runs it sees it: RGB [0, 1] NCHW in, RGB [0, 1] NCHW out, side × scale."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn


class Spec(Protocol):
    """What is known of a network without its weights. Equal ones take the same time and memory."""

    @property
    def architecture(self) -> str:
        """Its layers, or the name of its architecture."""

    @property
    def scale(self) -> int:
        """Output side over input side."""

    @property
    def tileable(self) -> bool:
        """Whether tiles of an image give exactly what the whole image gives."""

    @property
    def needs_whole_image(self) -> bool:
        """Whether an image may not be cut at all."""

    @property
    def halo(self) -> int:
        """Input pixels to the left and above that a tile depends on."""

    @property
    def values_per_pixel(self) -> float:
        """Values per input pixel that a forward pass holds at the same time."""

    def model_dump_json(self) -> str:
        """It as JSON."""


class Network(nn.Module, ABC):
    """An image network. Input and output are float32 RGB (N, 3, H, W) in [0, 1]; the output has scale × the side."""

    spec: Spec
    scale: int
    variant: str = ""
    """In which forms its layers are computed, where they are not the usual ones: equal networks, other last bits."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Tiles begin at multiples of it, in input pixels."""

    @property
    @abstractmethod
    def pads_planes(self) -> bool:
        """Whether its layers pad the plane of a tile as they pad an image: then a plane ends where the image does.

        The result of such a plane has all its pixels, also those outside of the tile.
        """

    @property
    @abstractmethod
    def needs_statistics(self) -> bool:
        """Whether `transform` requires the statistics of the image's thumbnail."""

    @abstractmethod
    def halos(self, side: int) -> tuple[int, int]:
        """Pixels by which an image of `side` pixels is reflected before the first layer."""

    @abstractmethod
    def forward(self, image: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Stylize or enlarge an image: (N, 3, H, W) to (N, 3, H × scale, W × scale)."""

    @abstractmethod
    def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Run the layers on a plane with its halos; see `pads_planes` for what the result shows."""
