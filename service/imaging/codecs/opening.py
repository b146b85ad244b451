"""Opens files with Pillow, without decoding pixels."""

import io

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from service.errors import CorruptImage
from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.png import strip_pixels

PLUGINS = (AvifImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Pillow's plugins that are used. Importing one registers it; for a format that is not registered Pillow would import
all its plugins."""


def open_image(data: bytes, kind: ImageFormat) -> Image.Image:
    """Open a file as that format. Raises CorruptImage where its header is broken."""
    try:
        if kind is ImageFormat.HEIC:
            from pillow_heif import HeifImageFile  # noqa: PLC0415 # an extra

            heif: Image.Image = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
            return heif
        return Image.open(io.BytesIO(data), formats=(kind.name,))
    except Exception as error:  # Pillow's plugins raise exceptions of any type for broken files
        raise CorruptImage(f"the header of the {kind} image is broken; send a complete file") from error


def open_metadata(data: bytes, kind: ImageFormat) -> Image.Image:
    """Open a file for its metadata alone; its pixels cannot be loaded. Raises CorruptImage as `open_image` does.

    In a PNG, metadata that follows the pixels is found without decoding them.
    """
    if kind is not ImageFormat.PNG:
        return open_image(data, kind)
    try:
        return open_image(strip_pixels(data), kind)
    except CorruptImage:  # a chunk after the pixels is damaged, but the photo is still good
        return open_image(data, kind)
