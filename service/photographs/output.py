"""How a request wants its answer as a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.errors import InvalidRequest, NotAcceptable
from service.photographs.formats import ImageFormat
from service.photographs.header import Header
from service.photographs.metadata import Policy

DEFAULT_QUALITY = 85
"""A JPEG of 85 with all its colours has about the bytes of one of 90 with a quarter of them, and is nearer to what was
enlarged by 0.0 dB and to what was painted by 2.6 dB."""


class Subsampling(StrEnum):
    """How many of the colours of a JPEG or AVIF are kept: one for each pixel, or for every two by two."""

    FULL = "444"
    QUARTER = "420"


@dataclass(frozen=True)
class Output:
    """`formats` are those that the client likes best, equally; the rest holds for the formats that know it."""

    formats: Sequence[ImageFormat]
    quality: int = DEFAULT_QUALITY
    """Of JPEG, AVIF and lossy WebP, 1 to 100."""
    lossless: bool = False
    """Whether WebP keeps every value."""
    progressive: bool = False
    """Whether a JPEG appears coarse at first."""
    subsampling: Subsampling = Subsampling.FULL
    metadata: Policy = Policy.STRIP

    def choose(self, header: Header) -> ImageFormat:
        """Of equally good formats the one that keeps movement, transparency and depth, and then the input's own.

        Raises NotAcceptable where all frames, and InvalidRequest where all values were to be kept and cannot be.
        """
        moves, deep = header.frames > 1, header.depth == 16
        chosen = min(
            self.formats,
            key=lambda kind: (
                moves and not kind.moves,
                header.has_alpha and not kind.has_alpha,
                self.lossless and not kind.is_lossless,
                deep and not kind.is_deep,
                kind is not header.family,
            ),
        )
        if moves and not chosen.moves:
            types = [kind.media_type for kind in ImageFormat if kind.written and kind.moves]
            detail = f"the image has {header.frames} frames, which {', '.join(types)} can have and {chosen} cannot"
            raise NotAcceptable(detail, available=types, headers={"Vary": "Accept"})
        if self.lossless and not chosen.is_lossless:
            raise InvalidRequest(f"a {chosen} cannot be lossless; png, tiff and webp can")
        return chosen


def not_acceptable(asked: str, available: Sequence[str]) -> NotAcceptable:
    """The refusal of a wish that no type of answer fulfils."""
    detail = f"{asked} leaves none of {', '.join(available)}"
    return NotAcceptable(detail, available=list(available), headers={"Vary": "Accept"})
