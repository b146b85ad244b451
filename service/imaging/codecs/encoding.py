"""Encodes pictures to files."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from service.imaging.codecs.animation import write_animation
from service.imaging.codecs.colour import SRGB
from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.metadata import OutputMetadata
from service.imaging.codecs.output_spec import OutputSpec, Subsampling
from service.imaging.codecs.picture import DecodedImage, Picture
from service.imaging.codecs.png import insert_metadata
from service.imaging.codecs.sixteen_bit import write_png
from service.imaging.codecs.tiff import write_tiff
from service.imaging.codecs.timing import Timing
from service.imaging.codecs.xmp import SourceType
from service.imaging.pixels import Pixels, to_8_bits, to_luma

PNG_COMPRESSION_LEVEL = 3
"""For photos 4 % larger than zlib's default of 6, in less than half the time."""

AVIF_SPEED = 8
"""0, slowest, to 10."""

PROGRESSIVE_BYTES = 6
"""For a pixel of a progressive JPEG, at most: noise of quality 100 takes 4.1."""

BLOCK = 16
"""Pixels to which a side of a JPEG is filled up, at most."""

CHROMA_SUBSAMPLING = {Subsampling.FULL: "4:4:4", Subsampling.QUARTER: "4:2:0"}


def encode(
    pictures: Sequence[Picture],
    original: DecodedImage,
    kind: ImageFormat,
    output: OutputSpec,
    source_type: SourceType = SourceType.STYLIZED,
) -> bytes:
    """Encode the processed pictures of an image, frame by frame, with its metadata.

    Colour space, grey, alpha and 16 bits a channel are kept where the format supports them; otherwise the output is in
    sRGB, has three channels, a white background, or 8 bits.
    """
    metadata = _select_metadata(pictures[0], original, kind, output, source_type)
    profile = select_profile(original, kind)
    arrays = (prepare_array(picture, original, kind) for picture in pictures)
    if kind is ImageFormat.TIFF:
        return write_tiff(next(arrays), profile, metadata, compressed=output.compressed)
    options = _encoder_options(kind, output) | _metadata_options(kind, profile, metadata)
    if len(pictures) > 1 or kind is ImageFormat.GIF:
        timing = Timing([picture.milliseconds for picture in pictures], original.loop_count)
        return write_animation(arrays, kind, timing, options)
    return _write_still(next(arrays), kind, options)


def _select_metadata(
    picture: Picture, original: DecodedImage, kind: ImageFormat, output: OutputSpec, source_type: SourceType
) -> OutputMetadata:
    height, width = picture.pixels.shape[:2]
    srgb = original.space.is_srgb or not _keeps_space(original, kind)
    metadata = original.metadata if kind.supports_exif else original.metadata.with_owner_in_xmp()
    return metadata.for_output(output.metadata, source_type, width, height, srgb=srgb)


def select_profile(original: DecodedImage, kind: ImageFormat) -> bytes | None:
    """The profile of the output, if its channels are those of the file."""
    space = original.space if _keeps_space(original, kind) else SRGB
    return space.profile if space.is_grey == (original.grey and kind.supports_grey) else None


def _keeps_space(original: DecodedImage, kind: ImageFormat) -> bool:
    """Whether the format supports profiles, and a grey channel where the space is grey."""
    return kind.supports_profile and (kind.supports_grey or not original.space.is_grey)


def prepare_array(picture: Picture, original: DecodedImage, kind: ImageFormat) -> Pixels:
    """The values to store: (H, W) or (H, W, C), uint8 or uint16."""
    pixels, alpha = picture.pixels, picture.alpha
    if not kind.supports_16_bit:
        pixels, alpha = to_8_bits(pixels), None if alpha is None else to_8_bits(alpha)
    if alpha is not None and not kind.supports_alpha:
        pixels, alpha = _composite_on_white(pixels, alpha), None
    if original.grey:
        grey = to_luma(pixels)
        pixels = grey if kind.supports_grey else np.stack([grey] * 3, axis=-1)
    if not _keeps_space(original, kind):
        pixels = original.space.to_srgb(pixels)
    return pixels if alpha is None else np.dstack([pixels, alpha])


def _encoder_options(kind: ImageFormat, output: OutputSpec) -> dict[str, Any]:
    """Pillow's options for the pixels."""
    subsampling = CHROMA_SUBSAMPLING[output.subsampling]
    match kind:
        case ImageFormat.JPEG:
            return {"quality": output.quality, "progressive": output.progressive, "subsampling": subsampling}
        case ImageFormat.WEBP:
            return {"lossless": True} if output.lossless else {"quality": output.quality}
        case ImageFormat.AVIF:
            return {"quality": output.quality, "speed": AVIF_SPEED, "subsampling": subsampling}
        case ImageFormat.PNG:
            return {"compress_level": PNG_COMPRESSION_LEVEL}
    return {}


def _metadata_options(kind: ImageFormat, profile: bytes | None, metadata: OutputMetadata) -> dict[str, Any]:
    """Pillow's options for profile and metadata; a PNG has its XMP in an iTXt chunk (ISO 16684-3)."""
    options: dict[str, Any] = {"icc_profile": profile, "exif": metadata.exif_bytes or b""}
    if kind is not ImageFormat.PNG:
        return options | {"xmp": metadata.xmp}
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode())
    return options | {"pnginfo": texts}


def _write_still(pixels: Pixels, kind: ImageFormat, options: dict[str, Any]) -> bytes:
    if pixels.dtype == np.uint16:
        return _write_16_bit_png(pixels, options)
    file = io.BytesIO()
    with _room_for(pixels, options):
        Image.fromarray(pixels).save(file, kind.name, **options)
    return file.getvalue()


@contextmanager
def _room_for(pixels: Pixels, options: dict[str, Any]) -> Iterator[None]:
    """Room in the process for the whole of a progressive JPEG, which libjpeg writes at once.

    Pillow gives it one or two bytes a pixel, and fails where a picture takes more.
    """
    usual = ImageFile.MAXBLOCK
    beside = sum(len(options[name] or b"") for name in ("icc_profile", "exif", "xmp") if name in options)
    if options.get("progressive"):
        height, width = (length + -length % BLOCK for length in pixels.shape[:2])
        ImageFile.MAXBLOCK = usual + beside + PROGRESSIVE_BYTES * height * width
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = usual


def _write_16_bit_png(pixels: Pixels, options: dict[str, Any]) -> bytes:
    """Encode the pixels with libpng, and copy the metadata from a PNG of one pixel that Pillow writes."""
    one_pixel = np.zeros((1, 1, *pixels.shape[2:]), np.uint8)
    encoded = write_png(pixels, PNG_COMPRESSION_LEVEL)
    return insert_metadata(encoded, _write_still(one_pixel, ImageFormat.PNG, options))


def _composite_on_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    image = Image.fromarray(np.dstack([pixels, alpha]))
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
