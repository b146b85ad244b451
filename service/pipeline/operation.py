"""The interface of an operation: what is done with a frame between decoding and encoding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from service.engine.inference_request import InferenceSpec
from service.imaging.codecs import ColourSpace, Picture, Pixels
from service.imaging.masks import Mask
from service.imaging.sizes import Size
from service.models.registry import ServedModel


@dataclass(frozen=True)
class Plan:
    """The inferences that one frame needs, and the size of its answer."""

    inferences: tuple[InferenceSpec[ServedModel], ...]
    chained: bool
    """Whether each network gets the output of the one before it; else all of them get the same input."""
    answer: Size

    def in_fp32(self) -> "Plan":
        """The same plan in fp32, for images of 16 bits a channel."""
        return replace(self, inferences=tuple(replace(spec, model=spec.model.fp32) for spec in self.inferences))

    @property
    def pixels(self) -> int:
        """Output pixels of all inferences, to which the memory is proportional."""
        return sum(spec.output_pixels for spec in self.inferences)


@dataclass(frozen=True)
class Frame:
    """One picture of an image, upright, with what the image says about all of them."""

    picture: Picture
    space: ColourSpace
    """Of the picture's pixels, and of those of the answer."""
    mask: Mask | None = None
    """Where it is processed; None: everywhere."""

    @property
    def size(self) -> Size:
        """Of the picture."""
        height, width, _ = self.picture.pixels.shape
        return Size(height, width)


class Operation(Protocol):
    """Stylize or Upscale. Its fields decide on the pixels of the answer: equal ones give equal answers."""

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that take part, the most important one first."""

    @property
    def needs_mask(self) -> bool:
        """Whether its options make no sense without a mask."""

    def plan(self, size: Size) -> Plan:
        """For a frame of that size. Raises InvalidRequest where it cannot be done."""

    def preprocess(self, frame: Frame) -> Pixels:
        """The input of the first networks, (H, W, 3)."""

    def postprocess(self, frame: Frame, outputs: Sequence[Pixels]) -> Picture:
        """The answer, made of the frame and of the outputs: one for each inference of the plan, or a chain's last.

        The outputs may be changed in place.
        """
