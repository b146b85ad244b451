"""Heights and widths: of the picture that a network sees, and of the answer."""

import math
from enum import StrEnum
from typing import NamedTuple

from service.errors import InvalidRequest


class Size(NamedTuple):
    """Of an upright picture, in pixels."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Height × width."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"

    def times(self, factor: int) -> "Size":
        """Both sides, so many times as long."""
        return Size(self.height * factor, self.width * factor)

    def with_longest(self, side: int) -> "Size":
        """The same aspect with a longer side of so many pixels, the other one rounded."""
        factor = side / max(self)
        return Size(max(1, round(self.height * factor)), max(1, round(self.width * factor)))


class Fit(StrEnum):
    """How a picture of one aspect fills a rectangle of another one."""

    INSIDE = "inside"
    COVER = "cover"
    FILL = "fill"


class Framing(NamedTuple):
    """An answer is made of an enlargement: resized, then cut to the part about its middle."""

    resized: Size
    answer: Size

    @property
    def corner(self) -> tuple[int, int]:
        """Top and left of the answer in the resized picture."""
        return (self.resized.height - self.answer.height) // 2, (self.resized.width - self.answer.width) // 2


def framed(full: Size, width: int | None, height: int | None, fit: Fit) -> Framing:
    """How an enlargement of the size `full` becomes one of that width and height, or of one of them, or as it is.

    Raises InvalidRequest where it would have to be enlarged further.
    """
    if width is None and height is None:
        return Framing(full, full)
    framing = _framed(full, width, height, fit)
    if framing.resized.width > full.width or framing.resized.height > full.height:
        asked = f"{'any' if width is None else width}×{'any' if height is None else height} ({fit})"
        raise InvalidRequest(
            f"an answer of {asked} would need {framing.resized}, and this picture becomes {full} at most; ask for no "
            "more, choose a larger scale, or leave width and height away",
            needed=framing.resized._asdict(),
            max_accepted=full._asdict(),
        )
    return framing


def _framed(full: Size, width: int | None, height: int | None, fit: Fit) -> Framing:
    across, down = (width or math.inf) / full.width, (height or math.inf) / full.height
    if width is None or height is None or fit is Fit.INSIDE:
        resized = _scaled(full, min(across, down))
        return Framing(resized, resized)
    answer = Size(height, width)
    if fit is Fit.FILL:
        return Framing(answer, answer)
    covering = _scaled(full, max(across, down))
    return Framing(Size(max(covering.height, height), max(covering.width, width)), answer)


def _scaled(size: Size, factor: float) -> Size:
    return Size(max(1, round(size.height * factor)), max(1, round(size.width * factor)))
