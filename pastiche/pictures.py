"""From the images of Python's libraries to the files that the codecs read, and from answers back.

An image in memory counts as a lossless file of the same pixels, so that it is treated as the service treats that file.
"""

import io
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from service.imaging.codecs import DecodedImage, ImageFormat, Picture, Pixels, prepare_array, select_profile
from service.imaging.codecs.exif import read_exif, read_orientation
from service.imaging.codecs.sixteen_bit import write_png
from service.imaging.pixels import to_8_bits

Array = NDArray[Any]
Source = str | PathLike[str] | bytes | Image.Image | Array
"""A path, the content of a file, an image of Pillow's, or an array (H, W) or (H, W, C) with 1 to 4 channels."""

CONVERTED_MODES: Mapping[str, str] = {
    "HSV": "RGB",
    "La": "LA",
    "PA": "RGBA",
    "RGBX": "RGB",
    "RGBa": "RGBA",
    "YCbCr": "RGB",
}
"""Pillow's modes that no file has, and the ones that they are converted to."""

OTHER_BYTE_ORDERS = frozenset({"I;16B", "I;16L", "I;16N"})
"""Grey of 16 bits, as Pillow has it of some TIFFs."""

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
TIFF_MODES = ("CMYK", "LAB")
TURNED_ORIENTATIONS = range(2, 9)
FLOAT_LEVELS = 65535
"""Numbers from 0 to 1 are computed with 16 bits a channel."""


def read_source(source: object) -> bytes:
    """The file of an image. Raises TypeError or ValueError for what is no Source, and OSError for a path."""
    match source:
        case bytes():
            return source
        case str() | PathLike():
            return Path(source).read_bytes()
        case Image.Image():
            return _image_file(source)
        case np.ndarray():
            return _array_file(source)
    accepted = "a path, the bytes of a file, an image of Pillow's, or an array of numpy's"
    raise TypeError(f"{type(source).__name__} is no image; {accepted} is accepted")


def to_image(picture: Picture, original: DecodedImage) -> Image.Image:
    """An answer as an image with 8 bits a channel (grey may have 16), with its ICC profile in `info`."""
    stored = prepare_array(picture, original, ImageFormat.PNG)
    image = Image.fromarray(stored if stored.ndim == 2 else to_8_bits(stored))
    profile = select_profile(original, ImageFormat.PNG)
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def to_array(picture: Picture, original: DecodedImage, given: Array) -> Array:
    """An answer as an array of the type of the one that was given, with alpha where that has alpha."""
    stored = prepare_array(picture, original, ImageFormat.PNG)
    if given.shape[2:] in ((2,), (4,)) and stored.shape[2:] not in ((2,), (4,)):
        stored = np.dstack([stored, np.full(stored.shape[:2], np.iinfo(stored.dtype).max, stored.dtype)])
    if given.shape[2:] == (1,) and stored.ndim == 2:
        stored = stored[..., None]
    if given.dtype.kind == "f":
        return (stored / np.float64(FLOAT_LEVELS)).astype(given.dtype)
    return stored.astype(given.dtype, copy=False)


def _image_file(image: Image.Image) -> bytes:
    image.load()  # which turns a TIFF upright
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile"), "exif": _orientation(image)}
    image = _in_file_mode(image)
    stream = io.BytesIO()
    if image.mode in PNG_MODES:
        image.save(stream, "PNG", compress_level=0, **options)
    elif image.mode in TIFF_MODES:
        image.save(stream, "TIFF", compression="raw", **options)  # which may have been opened as JPEG in TIFF
    else:
        accepted = ", ".join([*PNG_MODES, *TIFF_MODES, *CONVERTED_MODES])
        raise ValueError(f"an image of mode {image.mode} is not accepted; these are: {accepted}")
    return stream.getvalue()


def _in_file_mode(image: Image.Image) -> Image.Image:
    if image.mode in OTHER_BYTE_ORDERS:
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    return image.convert(CONVERTED_MODES[image.mode]) if image.mode in CONVERTED_MODES else image


def _orientation(image: Image.Image) -> Image.Exif:
    """EXIF of the orientation alone, which Pillow leaves to be applied: what the service would read of the file."""
    exif, same_info = Image.Exif(), Image.new("1", (1, 1))
    same_info.info = dict(image.info)
    orientation = read_orientation(read_exif(same_info))
    if orientation in TURNED_ORIENTATIONS:
        exif[ExifTags.Base.Orientation] = orientation
    return exif


def _array_file(array: Array) -> bytes:
    if array.ndim not in (2, 3) or not array.size or array.shape[2:] not in ((), (1,), (2,), (3,), (4,)):
        accepted = "(height, width), or (height, width, channels) with 1 to 4 channels"
        raise ValueError(f"an array of shape {array.shape} is no image; {accepted} is accepted")
    pixels = _integers(array)
    return write_png(pixels[..., 0] if array.shape[2:] == (1,) else pixels, 0)


def _integers(array: Array) -> Pixels:
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind != "f":
        raise ValueError(f"an array of {array.dtype} is no image; uint8, uint16, and floats from 0 to 1 are accepted")
    if not (array.min() >= 0 and array.max() <= 1):  # NaN compares as false
        raise ValueError(f"floats are accepted from 0 to 1; these go from {array.min():g} to {array.max():g}")
    return np.rint(array.astype(np.float64) * FLOAT_LEVELS).astype(np.uint16)
