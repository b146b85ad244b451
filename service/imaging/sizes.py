"""Sizes of pictures, and how the size of an output follows from the width, height and fit that were requested."""

import math
from enum import StrEnum
from typing import NamedTuple

from service.errors import InvalidRequest

LONGEST_SIDE = 65_500
"""Of an answer, in pixels; for most images the limits on pixels are reached before."""


class Size(NamedTuple):
    """Height and width of an upright picture, in pixels."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Height × width."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"

    def times(self, factor: float) -> "Size":
        """Both sides multiplied by `factor`, rounded, and at least 1."""
        return Size(max(1, round(self.height * factor)), max(1, round(self.width * factor)))

    def with_longest(self, side: int) -> "Size":
        """The same aspect ratio with a longer side of `side` pixels; the other side is rounded, and at least 1."""
        return self.times(side / max(self))


class Fit(StrEnum):
    """How a picture fills a rectangle of another aspect ratio."""

    INSIDE = "inside"
    """All of the picture, no larger than the rectangle."""
    COVER = "cover"
    """The whole rectangle; what of the picture lies outside is cropped."""
    FILL = "fill"
    """The whole rectangle with all of the picture, distorted."""


class Framing(NamedTuple):
    """An output is made by resizing to `resized` and then cropping to `answer` about the centre."""

    resized: Size
    answer: Size

    @property
    def corner(self) -> tuple[int, int]:
        """Top and left of the crop in the resized picture, in pixels."""
        return (self.resized.height - self.answer.height) // 2, (self.resized.width - self.answer.width) // 2


def fit_size(full: Size, width: int | None, height: int | None, fit: Fit) -> Framing:
    """How an upscaled image of the size `full` becomes one of the requested width and height.

    None is a side that was not requested: with one side the other follows by the aspect ratio, with none the size is
    `full`. Raises InvalidRequest where the image would have to be enlarged beyond `full`.
    """
    if width is None and height is None:
        return Framing(full, full)
    framing = _frame(full, width, height, fit)
    if framing.resized.width > full.width or framing.resized.height > full.height:
        asked = f"{'any' if width is None else width}×{'any' if height is None else height} ({fit})"
        raise InvalidRequest(
            f"an answer of {asked} would need {framing.resized}, and this picture becomes {full} at most; ask for no "
            "more, choose a larger scale, or leave width and height away",
            needed=framing.resized._asdict(),
            max_accepted=full._asdict(),
        )
    return framing


def _frame(full: Size, width: int | None, height: int | None, fit: Fit) -> Framing:
    factors = (width or math.inf) / full.width, (height or math.inf) / full.height
    if width is None or height is None or fit is Fit.INSIDE:
        resized = full.times(min(factors))
        return Framing(resized, resized)
    answer = Size(height, width)
    if fit is Fit.FILL:
        return Framing(answer, answer)
    covering = full.times(max(factors))
    return Framing(Size(max(covering.height, height), max(covering.width, width)), answer)
