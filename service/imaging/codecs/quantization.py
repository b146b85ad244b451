"""The quantisation tables of a JPEG (ITU-T T.81, section B.2.4.1), which tell how hard it was compressed."""

from collections.abc import Mapping, Sequence

from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.header import ImageHeader
from service.imaging.codecs.opening import open_image


def read_quantization(data: bytes, header: ImageHeader) -> Mapping[int, Sequence[int]]:
    """The tables of a file by their numbers, 64 entries each; empty for other formats, and for 12 bits a channel.

    Raises CorruptImage where the file's header is broken.
    """
    if header.format is not ImageFormat.JPEG or header.depth != 8:
        return {}
    with open_image(data, ImageFormat.JPEG) as image:
        tables: Mapping[int, Sequence[int]] = getattr(image, "quantization", {})
        return dict(tables)
