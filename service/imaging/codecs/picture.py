"""Decoded images: a file, and the pictures in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from service.imaging.codecs.alpha import resize_alpha
from service.imaging.codecs.colour import SRGB, ColourSpace
from service.imaging.codecs.header import ImageHeader
from service.imaging.codecs.metadata import Metadata
from service.imaging.pixels import Pixels


@dataclass(frozen=True)
class Picture:
    """A still image or a frame, upright: `pixels` (H, W, 3), and `alpha` (H, W) of the same type, None where opaque.

    Fully transparent pixels have the colours of visible ones nearby.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    milliseconds: int = 0
    """The duration of a frame."""

    def with_pixels(self, pixels: Pixels) -> "Picture":
        """A copy with other pixels, (H', W', 3), and with the alpha resized to them."""
        height, width = pixels.shape[:2]
        return replace(
            self, pixels=pixels, alpha=None if self.alpha is None else resize_alpha(self.alpha, height, width)
        )


@dataclass(frozen=True)
class DecodedImage:
    """A decoded file."""

    header: ImageHeader
    pictures: Iterator[Picture]
    """The `header.frames` frames in order. Each is decoded when it is asked for, which takes CPU time and can raise
    CorruptImage."""
    space: ColourSpace = SRGB
    """The colour space of the pixels."""
    grey: bool = False
    """Whether the three channels are equal and an output may have one channel."""
    loop_count: int = 1
    """How often an animation is played; 0 is for ever."""
    metadata: Metadata = field(default_factory=Metadata)
