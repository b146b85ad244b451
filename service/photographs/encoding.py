"""Pictures to the bytes of a file."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.photographs.animation import Timing, write_moving
from service.photographs.colour import SRGB
from service.photographs.formats import ImageFormat
from service.photographs.metadata import Attached
from service.photographs.output import Output, Subsampling
from service.photographs.picture import Photograph, Picture
from service.photographs.pixels import Pixels, luma, to_8_bits
from service.photographs.tiff import write_tiff
from service.photographs.xmp import SourceType

PNG_COMPRESSION = 3
"""A photograph comes out 4 % larger than at zlib's default of 6, in less than half the time."""

AVIF_SPEED = 8
"""Of 0 to 10."""

PNG_BEGIN = 8 + 25
"""Bytes of a PNG's signature and header, which is always its first chunk."""

SUBSAMPLING = {Subsampling.FULL: "4:4:4", Subsampling.QUARTER: "4:2:0"}


def encode(
    pictures: Sequence[Picture],
    original: Photograph,
    kind: ImageFormat,
    output: Output,
    made: SourceType = SourceType.PAINTED,
) -> bytes:
    """What became of a photograph's pictures, frame by frame, as a file of that format.

    It has the photograph's colour space, its grey, its transparency and its 16 bits a channel where the format can have
    them: else sRGB, three channels, a white background and 8 bits.
    """
    height, width = pictures[0].pixels.shape[:2]
    space = original.space if _keeps_space(original, kind) else SRGB
    profile = space.profile if space.is_grey == (original.grey and kind.has_grey) else None
    attached = original.metadata.attached(output.metadata, made, width, height, srgb=space.is_srgb)
    arrays = (_channels(picture, original, kind) for picture in pictures)
    if kind is ImageFormat.TIFF:
        return write_tiff(next(arrays), profile, attached)
    options = _options(kind, output) | _described(kind, profile, attached)
    if len(pictures) > 1 or kind is ImageFormat.GIF:
        timing = Timing([picture.milliseconds for picture in pictures], original.plays)
        return write_moving(arrays, kind, timing, options)
    return _write(next(arrays), kind, options)


def _keeps_space(original: Photograph, kind: ImageFormat) -> bool:
    """Whether the format has profiles, and channels as the photograph's has."""
    return kind.has_profile and (kind.has_grey or not original.space.is_grey)


def _channels(picture: Picture, original: Photograph, kind: ImageFormat) -> Pixels:
    """What the file has of a picture: (H, W) or (H, W, C)."""
    pixels, alpha = picture.pixels, picture.alpha
    if not kind.is_deep:
        pixels, alpha = to_8_bits(pixels), None if alpha is None else to_8_bits(alpha)
    if alpha is not None and not kind.has_alpha:
        pixels, alpha = _on_white(pixels, alpha), None
    if original.grey:
        grey = luma(pixels)
        pixels = grey if kind.has_grey else np.stack([grey] * 3, axis=-1)
    if not _keeps_space(original, kind):
        pixels = original.space.to_srgb(pixels)
    return pixels if alpha is None else np.dstack([pixels, alpha])


def _options(kind: ImageFormat, output: Output) -> dict[str, Any]:
    """Pillow's for a format."""
    subsampling = SUBSAMPLING[output.subsampling]
    match kind:
        case ImageFormat.JPEG:
            return {"quality": output.quality, "progressive": output.progressive, "subsampling": subsampling}
        case ImageFormat.WEBP:
            return {"lossless": True} if output.lossless else {"quality": output.quality}
        case ImageFormat.AVIF:
            return {"quality": output.quality, "speed": AVIF_SPEED, "subsampling": subsampling}
        case ImageFormat.PNG:
            return {"compress_level": PNG_COMPRESSION}
    return {}


def _write(pixels: Pixels, kind: ImageFormat, options: dict[str, Any]) -> bytes:
    if pixels.dtype == np.uint16:
        return _deep_png(pixels, options)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind.name, **options)
    return file.getvalue()


def _described(kind: ImageFormat, profile: bytes | None, attached: Attached) -> dict[str, Any]:
    """Pillow's options for what stands beside the pixels; in a PNG, XMP is a text (ISO 16684-3)."""
    options: dict[str, Any] = {"icc_profile": profile, "exif": attached.exif_bytes or b""}
    if kind is not ImageFormat.PNG:
        return options | {"xmp": attached.xmp}
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", attached.xmp.decode())
    return options | {"pnginfo": texts}


def _deep_png(pixels: Pixels, options: dict[str, Any]) -> bytes:
    """Of 16 bits a channel: the pixels as libpng writes them, what stands beside them as in a file of one pixel."""
    small = _write(np.zeros((1, 1, *pixels.shape[2:]), np.uint8), ImageFormat.PNG, options)
    file = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), PNG_COMPRESSION))
    return file[:PNG_BEGIN] + b"".join(_beside(small)) + file[PNG_BEGIN:]


def _beside(png: bytes) -> Iterator[bytes]:
    """The chunks of a PNG that are neither its header nor its pixels (PNG, section 5.3)."""
    at = PNG_BEGIN
    while png[at + 4 : at + 8] != b"IEND":
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] != b"IDAT":
            yield png[at:end]
        at = end


def _on_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    image = Image.fromarray(np.dstack([pixels, alpha]))
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
