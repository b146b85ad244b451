"""What an order does with a picture between its decoding and its encoding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from service.admission import Work
from service.masks import Mask
from service.photographs import ColourSpace, Picture, Pixels
from service.photographs.colour import SRGB
from service.served_models import ServedModel
from service.sizes import Size


@dataclass(frozen=True)
class Plan:
    """What a picture of one size asks of the networks, and the size of its answer."""

    work: tuple[Work[ServedModel], ...]
    chained: bool
    """Whether each network continues what the one before it made; else all of them see the same picture."""
    answer: Size

    def exact(self) -> "Plan":
        """The same in fp32, for pictures of 16 bits."""
        return replace(self, work=tuple(replace(one, model=one.model.exact) for one in self.work))

    @property
    def pixels(self) -> int:
        """Of everything that is made on the way: what the memory is proportional to."""
        return sum(one.output_pixels for one in self.work)


@dataclass(frozen=True)
class Subject:
    """A picture that is treated, and what belongs to it."""

    picture: Picture
    space: ColourSpace = SRGB
    """Of the picture's pixels, and of what becomes of it."""
    mask: Mask | None = None
    """Where it is treated; None: everywhere."""

    @property
    def size(self) -> Size:
        """Of the picture."""
        height, width, _ = self.picture.pixels.shape
        return Size(height, width)


class Treatment(Protocol):
    """Its fields are all that decides on the answer, so that equal ones give equal answers."""

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The networks that take part, the most important one first."""

    @property
    def needs_mask(self) -> bool:
        """Whether its options make sense with a mask only."""

    def plan(self, size: Size) -> Plan:
        """For a picture of that size, upright; raises InvalidRequest where it cannot be done."""

    def prepared(self, subject: Subject) -> Pixels:
        """What the first networks see."""

    def finished(self, subject: Subject, results: Sequence[Pixels]) -> Picture:
        """The answer: of the picture and of what each network of the plan made, of which it may take possession.

        Of networks that are chained there is the last one's result.
        """
