"""An image in any of the forms that programs have it in, as the bytes of a file."""

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import PIL.Image


class BinaryFile(Protocol):
    """A file that is open for reading."""

    def read(self) -> bytes:
        """All of it."""


class PixelArray(Protocol):
    """An image of Pillow, or an array of NumPy."""

    @property
    def __array_interface__(self) -> Mapping[str, Any]:
        """Where the pixels are."""


ImageInput = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | PixelArray

PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})
"""Modes of Pillow that a PNG keeps."""

WITH_ALPHA = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
"""Modes of Pillow with alpha, and those that they become; other modes with colours become RGB."""

CONVERTED_MODES = frozenset({"CMYK", "LAB"})
"""Modes of Pillow that become sRGB, by their profile."""

RAW_PROFILE = "Raw profile type exif"
"""Where Pillow has the EXIF of PNGs that ImageMagick wrote before they had a chunk for it."""

MAX_LEVEL = 65_535
"""Of a PNG."""


def read_image(image: ImageInput) -> bytes:
    """The bytes of the file, or of a PNG of the pixels.

    An array has the shape (height, width) or (height, width, 3 or 4), and the type uint8, or a floating one with values
    from 0 to 1, as in Pillow's mode F; mode I has 16 bits. Raises OSError for a file that cannot be read, TypeError and
    ValueError for what is no image.
    """
    match image:
        case bytes() | bytearray() | memoryview():
            return bytes(image)
        case str() | os.PathLike():
            return Path(image).read_bytes()
    if hasattr(image, "__array_interface__"):
        return _encode(image)
    content = image.read() if hasattr(image, "read") else None
    if not isinstance(content, bytes):
        accepted = "a path, bytes, a file open in binary mode, an image of Pillow, or an array of NumPy"
        raise TypeError(f"{type(image).__name__} is no image; accepted is {accepted}")
    return content


def _encode(pixels: Any) -> bytes:
    from PIL import Image  # noqa: PLC0415 # only for those who have images of it

    if isinstance(pixels, Image.Image):
        return _write_png(_in_png_mode(pixels), pixels)
    image = Image.fromarray(_to_bytes(pixels))
    return _write_png(image, image)


def _in_png_mode(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """In a mode that a PNG keeps. Raises ValueError for grey values that it does not."""
    if image.mode in PNG_MODES:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_grey(image)
    return _to_srgb(image) if image.mode in CONVERTED_MODES else image.convert(WITH_ALPHA.get(image.mode, "RGB"))


def _to_srgb(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """By the profile of the image, as the service does with its file; by Pillow's formulas without a usable one."""
    from PIL import ImageCms  # noqa: PLC0415 # only for those who have such images

    profile, flags = image.info.get("icc_profile"), ImageCms.Flags.BLACKPOINTCOMPENSATION
    with suppress(ImageCms.PyCMSError, OSError, TypeError):
        source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile or b"")), ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        converted = ImageCms.profileToProfile(image, source, srgb, intent, "RGB", flags=flags)
        return converted if converted is not None else image.convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """Floats as in arrays, integers with 16 bits: Pillow's own conversion limits both to 255."""
    import numpy as np  # noqa: PLC0415 # only for those who have such images
    from PIL import Image  # noqa: PLC0415

    if image.mode == "F":
        return Image.fromarray(_to_bytes(np.asarray(image)))
    levels = np.asarray(image.convert("I"))
    if levels.min() < 0 or levels.max() > MAX_LEVEL:
        found = f"values from {levels.min()} to {levels.max()}"
        raise ValueError(f"grey of mode I with {found} is not accepted; 0 to {MAX_LEVEL} are")
    return Image.fromarray(levels.astype(np.uint16))


def _write_png(image: "PIL.Image.Image", origin: "PIL.Image.Image") -> bytes:
    """A PNG with the profile and the orientation of its origin; compressed a little, since it is sent once."""
    stream = io.BytesIO()
    image.load()  # which turns a TIFF upright
    profile = None if origin.mode in CONVERTED_MODES else origin.info.get("icc_profile")
    image.save(stream, "PNG", compress_level=1, icc_profile=profile, exif=_stored_exif(origin))
    return stream.getvalue()


def _stored_exif(image: "PIL.Image.Image") -> bytes | None:
    """As its file has it, damaged or not: the service leaves out what is broken, and an orientation in XMP alone."""
    stored: bytes | None = image.info.get("exif")
    if stored is None and (image.format == "TIFF" or RAW_PROFILE in image.info):
        with suppress(Exception):  # Pillow raises any for what is damaged
            return image.getexif().tobytes()
    return stored


def _to_bytes(array: Any) -> Any:
    """An array of floats from 0 to 1 as uint8; one of uint8 as it is. Raises ValueError for any other."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise ValueError(f"an array of shape {array.shape} is no image; accepted are (h, w), (h, w, 3) and (h, w, 4)")
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        return (array * 255).round().astype("uint8")
    if array.dtype != "uint8":
        raise ValueError(f"an array of {array.dtype} is no image unless its values are floats from 0 to 1, or uint8")
    return array
