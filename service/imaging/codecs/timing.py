"""How long the frames of an animation are shown, and how often: what a file of each format can say of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from service.imaging.codecs.formats import ImageFormat

GIF_TICK = 10
"""Milliseconds: the unit of durations in a GIF (GIF89a, section 23)."""

MAX_GIF_DURATION = (2**16 - 1) * GIF_TICK
"""Milliseconds of a frame."""

MAX_WEBP_DURATION = 2**24 - 1
"""Milliseconds of a frame (RFC 9649, section 2.7.1.1)."""

MAX_WEBP_TOTAL = 2**31 - 1
"""Milliseconds of all frames: libwebp counts from the first one."""

PNG_UNITS = (1, 10, 100, 1000)
"""Milliseconds that a duration in a PNG is written in multiples of: numerator and denominator have 16 bits each."""

MAX_PNG_UNITS = 2**16 - 1

MAX_LOOP_COUNTS = {ImageFormat.GIF: 2**16, ImageFormat.WEBP: 2**16 - 1, ImageFormat.PNG: 2**31 - 1}
"""A GIF says how often an animation is repeated, the others how often it is played (RFC 9649, section 2.7.1.1; PNG,
section 11.3.6.1)."""


@dataclass(frozen=True)
class Timing:
    """The duration of each frame, and how often the animation is played; 0 is for ever."""

    milliseconds: Sequence[int]
    loop_count: int

    def fit(self, kind: ImageFormat) -> "Timing":
        """The nearest timing that a file of that format can hold: durations are rounded, and those too long shortened.

        What is played more often than the format can say is played as often as it can say.
        """
        return Timing(FITS[kind](self.milliseconds), min(self.loop_count, MAX_LOOP_COUNTS[kind]))


def _fit_gif(milliseconds: Sequence[int]) -> list[int]:
    return [min(duration, MAX_GIF_DURATION) for duration in _round_to_ticks(milliseconds)]


def _round_to_ticks(milliseconds: Sequence[int]) -> list[int]:
    """Round the start of each frame, not its duration, so that errors do not add up.

    No frame that is rounded gets less than two ticks, as browsers show shorter ones for ten.
    """
    if all(duration % GIF_TICK == 0 for duration in milliseconds):
        return list(milliseconds)
    starts = [GIF_TICK * round(total / GIF_TICK) for total in accumulate(milliseconds, initial=0)]
    return [max(2 * GIF_TICK, end - start) for start, end in pairwise(starts)]


def _fit_webp(milliseconds: Sequence[int]) -> list[int]:
    longest = min(MAX_WEBP_DURATION, MAX_WEBP_TOTAL // len(milliseconds))
    return [min(duration, longest) for duration in milliseconds]


def _fit_png(milliseconds: Sequence[int]) -> list[int]:
    return [_round_to_fraction(min(duration, MAX_PNG_UNITS * PNG_UNITS[-1])) for duration in milliseconds]


def _round_to_fraction(duration: int) -> int:
    """Round to the smallest unit of which a PNG can hold as many."""
    return next(count * unit for unit in PNG_UNITS if (count := round(duration / unit)) <= MAX_PNG_UNITS)


FITS: Mapping[ImageFormat, Callable[[Sequence[int]], list[int]]] = {
    ImageFormat.GIF: _fit_gif,
    ImageFormat.PNG: _fit_png,
    ImageFormat.WEBP: _fit_webp,
}
