"""The interface of an operation: which networks a frame needs, and what is done with its pixels around them."""

from dataclasses import dataclass, replace
from typing import Protocol

from service.engine.inference_spec import InferenceSpec
from service.imaging.damage import Damage
from service.imaging.frame_transform import FrameTransform
from service.imaging.sizes import Size
from service.models.served_model import ServedModel


@dataclass(frozen=True)
class Plan:
    """The inferences that one frame needs, what is done around them, and the size of its answer."""

    inferences: tuple[InferenceSpec[ServedModel], ...]
    transform: FrameTransform
    weights: tuple[float, ...]
    """Of the first networks, as many as there are weights, all of which get the frame. Each of the others gets the
    output of the one before it, and the first of them the mixture by these weights."""
    answer: Size

    def in_fp32(self) -> "Plan":
        """The same plan in fp32, for images of 16 bits a channel."""
        return replace(self, inferences=tuple(replace(spec, model=spec.model.fp32) for spec in self.inferences))

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The model of each inference, in order."""
        return tuple(spec.model for spec in self.inferences)

    @property
    def pixels(self) -> int:
        """Output pixels of all inferences, to which the memory is proportional."""
        return sum(spec.output_pixels for spec in self.inferences)


class Operation(Protocol):
    """Stylize or Upscale. Its fields decide on the pixels of the answer: equal ones give equal answers."""

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that take part in every image, the most important one first; its size may call for more."""

    @property
    def needs_mask(self) -> bool:
        """Whether its options make no sense without a mask."""

    @property
    def damaged(self) -> "Operation | None":
        """What is done with a damaged image instead; None where that makes no difference."""

    @property
    def verdict(self) -> str:
        """What was found in the image, where that decided on the models; empty before and where it did not."""

    def for_image(self, damage: Damage) -> "Operation":
        """What is done with an image in which that was found."""

    def plan(self, size: Size) -> Plan:
        """For a frame of that size. Raises InvalidRequest where it cannot be done."""
