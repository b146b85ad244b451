"""The output file that a request asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.errors import InvalidRequest, NotAcceptable
from service.imaging.codecs.formats import WRITTEN_FORMATS, ImageFormat
from service.imaging.codecs.header import ImageHeader
from service.imaging.codecs.metadata import MetadataPolicy

DEFAULT_QUALITY = 85
"""A JPEG of quality 85 with 4:4:4 has about as many bytes as one of quality 90 with 4:2:0. Its error is as small for
upscaled images (0.0 dB in PSNR), and smaller for stylized ones (2.6 dB)."""


class Subsampling(StrEnum):
    """Chroma subsampling of JPEG and AVIF: 4:4:4 or 4:2:0."""

    FULL = "444"
    QUARTER = "420"


@dataclass(frozen=True)
class OutputSpec:
    """`formats` are equally acceptable; each of the other fields applies to the formats that have such an option."""

    formats: Sequence[ImageFormat]
    quality: int = DEFAULT_QUALITY
    """Of JPEG, AVIF and lossy WebP, 1 to 100."""
    lossless: bool = False
    progressive: bool = False
    """Whether a JPEG is progressive."""
    subsampling: Subsampling = Subsampling.FULL
    metadata: MetadataPolicy = MetadataPolicy.STRIP
    compressed: bool = True
    """Whether a TIFF is; without, its pixels can be taken out as they are."""

    def choose_format(self, header: ImageHeader) -> ImageFormat:
        """Choose the format that keeps animation, alpha, losslessness and depth, in this order, then the input's own.

        Raises NotAcceptable where frames would be lost, and InvalidRequest where no acceptable format is lossless.
        """
        animated = header.frames > 1
        chosen = min(self.formats, key=lambda kind: self._losses(kind, header))
        if animated and not chosen.supports_animation:
            types = [kind.media_type for kind in WRITTEN_FORMATS if kind.supports_animation]
            detail = f"the image has {header.frames} frames, which {', '.join(types)} can have and {chosen} cannot"
            raise NotAcceptable(detail, available=types)
        if self.lossless and not chosen.supports_lossless:
            raise InvalidRequest(f"a {chosen} cannot be lossless; png, tiff and webp can")
        return chosen

    def _losses(self, kind: ImageFormat, header: ImageHeader) -> tuple[bool, ...]:
        """What of the image, and of the request, a format does not support; the worst loss first."""
        return (
            header.frames > 1 and not kind.supports_animation,
            header.has_alpha and not kind.supports_alpha,
            self.lossless and not kind.supports_lossless,
            header.depth == 16 and not kind.supports_16_bit,
            kind is not header.default_output_format,
        )
