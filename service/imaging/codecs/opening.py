"""Opens files with Pillow, without decoding pixels."""

import io
from collections.abc import Callable, Mapping

import pi_heif
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from service.errors import CorruptImage, OutOfResources
from service.imaging.codecs import bmp, gif, isobmff, jpeg_segments, jxl, png, png_colour, webp
from service.imaging.codecs.cicp import SRGB_CURVE, CodePoints, declare_code_points
from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.hdr import HdrColours
from service.imaging.codecs.iptc import IPTC_RESOURCE, find_iptc
from service.imaging.codecs.jpeg_twelve_bit import declare_eight_bits

PLUGINS = (AvifImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Pillow's plugins that are used. Importing one registers it; for a format that is not registered Pillow would import
all its plugins."""

EXTRACTORS: Mapping[ImageFormat, Callable[[bytes], bytes]] = {
    ImageFormat.PNG: png.extract_pixels,
    ImageFormat.JPEG: jpeg_segments.extract_picture,
    ImageFormat.WEBP: webp.extract_pixels,
    ImageFormat.AVIF: isobmff.hide_items,
    ImageFormat.HEIC: isobmff.hide_items,
}
"""Reduce a file to what carries its pixels."""

COLOUR_CHUNKS, CODE_POINTS = "colour chunks", "code points"
"""Where an image that is opened for its metadata has what declares colours: chunks of a PNG, or code points (CICP)."""

EXIF_PREFIX = b"Exif\0\0"
"""What EXIF begins with in the formats that Pillow takes for the model."""


def open_image(data: bytes, kind: ImageFormat) -> Image.Image:
    """Open a file as that format, without what it has beside its pixels as far as that may be broken.

    Raises CorruptImage where its header is broken, and UnsupportedImage.
    """
    extract = EXTRACTORS.get(kind)
    return _open_whole(extract(data) if extract else data, kind)


def open_metadata(data: bytes, kind: ImageFormat) -> Image.Image:
    """Open a file for its metadata alone; its pixels cannot be loaded. Raises what `open_image` does.

    In a PNG, metadata is found wherever it is. Each piece of metadata that is damaged or too large is left out.
    """
    reader = METADATA_READERS.get(kind)
    return reader(data) if reader else open_image(data, kind)


def read_declared_colours(image: Image.Image, *, is_grey: bool) -> bytes | HdrColours | None:
    """How colours are meant in a file that is opened for its metadata: a profile, or what to map to SDR; None for sRGB.

    `is_grey` tells whether they are wanted for a single channel. Raises UnsupportedImage for what is not understood.
    """
    if image.format == ImageFormat.PNG.name:
        return png_colour.declare_colours(image.info.get(COLOUR_CHUNKS, {}), is_grey=is_grey)
    declared: bytes | HdrColours | None = image.info.get("icc_profile")
    codes: CodePoints | None = image.info.get(CODE_POINTS)
    if declared or codes is None:
        return declared
    return declare_code_points(codes.resolve_unknown(), is_grey=is_grey, video_curve=SRGB_CURVE)


def _open_whole(data: bytes, kind: ImageFormat) -> Image.Image:
    try:
        if kind is ImageFormat.HEIC:
            heif: Image.Image = pi_heif.HeifImageFile(io.BytesIO(data))
            return heif
        readable = declare_eight_bits(data) if kind is ImageFormat.JPEG else data
        return Image.open(io.BytesIO(readable), formats=(kind.name,))
    except Exception as error:  # Pillow's plugins raise exceptions of any type for broken files
        broken = CorruptImage(f"the header of the {kind} image is broken; send a complete file")
        raise (OutOfResources.of(error) or broken) from error


def _read_png_metadata(data: bytes) -> Image.Image:
    """An image of one pixel with the metadata."""
    chunks = png.read_side_chunks(data)
    info = {
        "exif": chunks.exif and EXIF_PREFIX + chunks.exif,
        "Raw profile type exif": chunks.raw_exif,
        "xmp": chunks.xmp,
        "photoshop": chunks.iptc and {IPTC_RESOURCE: find_iptc(chunks.iptc) or chunks.iptc},
        COLOUR_CHUNKS: chunks.colours,
    }
    return _image_with(ImageFormat.PNG, info)


def _read_jpeg_metadata(data: bytes) -> Image.Image:
    """Where Pillow refuses the metadata segments, without those that it refuses alone."""
    segments, rest = jpeg_segments.extract_metadata(data)
    try:
        return _open_whole(jpeg_segments.insert_segments(rest, segments), ImageFormat.JPEG)
    except CorruptImage:
        kept = [segment for segment in segments if _can_open(jpeg_segments.insert_segments(rest, [segment]))]
        return _open_whole(jpeg_segments.insert_segments(rest, kept), ImageFormat.JPEG)


def _can_open(jpeg: bytes) -> bool:
    try:
        _open_whole(jpeg, ImageFormat.JPEG).close()
    except CorruptImage:
        return False
    return True


def _read_webp_metadata(data: bytes) -> Image.Image:
    return _image_with(ImageFormat.WEBP, webp.read_metadata(data))


def _read_container_metadata(data: bytes, kind: ImageFormat) -> Image.Image:
    """Where an item of metadata is broken, without XMP, without EXIF, or without both."""
    for hidden in ((), *((name,) for name in isobmff.METADATA_TYPES)):
        try:
            image = _open_whole(isobmff.hide_items(data, hidden) if hidden else data, kind)
            break
        except CorruptImage:
            continue
    else:
        image = open_image(data, kind)
    image.info[CODE_POINTS] = isobmff.read_code_points(data)
    return image


def _read_avif_metadata(data: bytes) -> Image.Image:
    return _read_container_metadata(data, ImageFormat.AVIF)


def _read_heic_metadata(data: bytes) -> Image.Image:
    return _read_container_metadata(data, ImageFormat.HEIC)


def _read_gif_metadata(data: bytes) -> Image.Image:
    """Its XMP, which Pillow does not read."""
    return _image_with(ImageFormat.GIF, {"xmp": gif.read_xmp(data)})


def _read_bmp_metadata(data: bytes) -> Image.Image:
    return _image_with(ImageFormat.BMP, {"icc_profile": bmp.read_bitmap(data).profile})


def _read_jxl_metadata(data: bytes) -> Image.Image:
    file = jxl.read_file(data)
    exif = file.exif and EXIF_PREFIX + file.exif
    return _image_with(
        ImageFormat.JXL, {"exif": exif, "xmp": file.xmp, "icc_profile": jxl.read_colours(data, file.header)}
    )


def _image_with(kind: ImageFormat, info: Mapping[str, object]) -> Image.Image:
    """An image of one pixel with that of the information which is there."""
    image = Image.new("1", (1, 1))
    image.format = kind.name
    image.info = {name: value for name, value in info.items() if value}
    return image


METADATA_READERS: Mapping[ImageFormat, Callable[[bytes], Image.Image]] = {
    ImageFormat.AVIF: _read_avif_metadata,
    ImageFormat.BMP: _read_bmp_metadata,
    ImageFormat.GIF: _read_gif_metadata,
    ImageFormat.HEIC: _read_heic_metadata,
    ImageFormat.JPEG: _read_jpeg_metadata,
    ImageFormat.JXL: _read_jxl_metadata,
    ImageFormat.PNG: _read_png_metadata,
    ImageFormat.WEBP: _read_webp_metadata,
}
"""Formats whose metadata Pillow does not read, or not well."""
