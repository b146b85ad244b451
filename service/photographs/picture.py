"""What a photograph shows: one picture, or several where it moves."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from service.photographs.alpha import resized
from service.photographs.colour import SRGB, ColourSpace
from service.photographs.header import Header
from service.photographs.metadata import Metadata
from service.photographs.pixels import Pixels


@dataclass(frozen=True)
class Picture:
    """A decoded image: `pixels` (H, W, 3), upright; `alpha` (H, W) of the same type, None where it is opaque.

    Where it is wholly transparent, its colours are those of what is nearest.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    milliseconds: int = 0
    """For how long a frame is shown."""

    def repainted(self, pixels: Pixels) -> "Picture":
        """The same picture with what a network made of its pixels, (H, W, 3); its transparency gets their size."""
        height, width = pixels.shape[:2]
        return replace(self, pixels=pixels, alpha=None if self.alpha is None else resized(self.alpha, height, width))


@dataclass(frozen=True)
class Photograph:
    """A decoded file: what its header says, and what it shows."""

    header: Header
    pictures: Iterator[Picture]
    """Its frames in order, `header.frames` of them, each decoded when it is asked for; asking can raise CorruptImage
    and is work for the codecs' pool."""
    space: ColourSpace = SRGB
    """Of the pictures' pixels."""
    grey: bool = False
    """Whether it has no colour: three equal channels, of which a file keeps one."""
    plays: int = 1
    """How often its frames are shown, 0 for ever."""
    metadata: Metadata = field(default_factory=Metadata)
