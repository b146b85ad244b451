"""The interface of a frame transform: what is done with the pixels of a frame around its networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.imaging.codecs import ColourSpace, Picture, Pixels
from service.imaging.masks import Mask


@dataclass(frozen=True)
class Frame:
    """One picture of an image, upright, with what the image says about all of them."""

    picture: Picture
    space: ColourSpace
    """The colour space of the picture and of the answer."""
    mask: Mask | None = None
    """Which part is processed; None: all of it."""


class FrameTransform(Protocol):
    """What happens to a frame before and after its networks. All frames of an image have one size.

    It is sent to codec workers, so it holds numbers and no model.
    """

    def preprocess(self, frame: Frame) -> Pixels:
        """The input of the first networks, (H, W, 3)."""

    def needs_photo(self, frame: Frame) -> bool:
        """Whether `postprocess` looks at the pixels of the picture; its alpha it always gets."""

    def postprocess(self, frame: Frame, outputs: Sequence[Pixels]) -> Picture:
        """The answer, made of the frame and of the outputs: one for each network, or a chain's last.

        The outputs may be changed in place.
        """
