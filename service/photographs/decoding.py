"""The bytes of a file to pictures."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
from PIL import Image

from service.errors import CorruptImage
from service.photographs.alpha import filled
from service.photographs.colour import ADOBE_RGB_PROFILE, CONVERTED, flattened, placed
from service.photographs.deep import read_png, read_tiff
from service.photographs.exif import DAMAGED, orientation, read_exif
from service.photographs.formats import ImageFormat
from service.photographs.header import GREY_MODES, Header, described, inspect, opened
from service.photographs.metadata import Metadata, read_iptc
from service.photographs.picture import Photograph, Picture
from service.photographs.pixels import Pixels, to_8_bits, upright

TIFF_PROFILE, TIFF_XMP = 34_675, 700
STRAIGHT = {"La": "LA", "RGBa": "RGBA"}
"""Pillow's modes of colours that are multiplied by alpha, and of those that are not."""

Decoded = TypeVar("Decoded")


def decode(data: bytes, *, grey: bool = False, deep: bool = False) -> Photograph:
    """Decode an accepted image, frame by frame as they are asked for.

    What has no colour stays grey, and what has 16 bits a channel keeps them, where that is wanted. Raises CorruptImage
    where the file is truncated or otherwise broken.
    """
    header = inspect(data)
    if header.frames > 1:
        return _moving(data, header)
    return _guarded(lambda: _still(data, header, grey=grey and header.grey, deep=deep))


def _still(data: bytes, header: Header, *, grey: bool, deep: bool) -> Photograph:
    profile, metadata, turn = _described(data, header)
    if not profile and metadata.is_adobe_rgb:
        profile = ADOBE_RGB_PROFILE
    pixels, alpha = _deep(data, header.format) if header.depth == 16 else _shallow(data, header, profile)
    if not deep:
        pixels, alpha = to_8_bits(pixels), None if alpha is None else to_8_bits(alpha)
    pixels, space = placed(pixels, profile)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    if space.is_grey and not grey:
        pixels, space = space.to_srgb(pixels), CONVERTED
    picture = _picture(upright(pixels, turn), None if alpha is None else upright(alpha, turn))
    return Photograph(header, iter([picture]), space, grey, metadata=metadata)


def _moving(data: bytes, header: Header) -> Photograph:
    with described(data, header.format) as image:
        profile = image.info.get("icc_profile")
        metadata = Metadata(read_exif(image), image.info.get("xmp"))
    _, space = placed(np.zeros((1, 1, 3), np.uint8), profile)
    image = opened(data, header.format)
    return Photograph(header, _frames(image, header, profile), space, plays=_plays(image), metadata=metadata)


def _frames(image: Image.Image, header: Header, profile: bytes | None) -> Iterator[Picture]:
    """Each as it is seen, whatever part of it its file has."""
    still = 1 if image.info.get("default_image") else 0
    with image:
        for index in range(still, header.frames + still):
            yield _guarded(lambda: _frame(image, index, profile))  # noqa: B023 # called at once


def _frame(image: Image.Image, index: int, profile: bytes | None) -> Picture:
    image.seek(index)
    image.load()
    pixels, alpha = _split(image.convert("RGBA" if image.has_transparency_data else "RGB"), profile)
    milliseconds = round(float(image.info.get("duration") or 0))
    return replace(_picture(placed(pixels, profile)[0], alpha), milliseconds=milliseconds)


def _plays(image: Image.Image) -> int:
    """How often the frames are shown, 0 for ever. A GIF without the extension is shown once, and else again as often
    as that says; WebP and PNG say how often."""
    loop = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loop is None else int(loop) and int(loop) + 1
    return int(loop or 0)


def _described(data: bytes, header: Header) -> tuple[bytes | None, Metadata, int]:
    """What stands beside the pixels of a file: its profile, its metadata, and how what is read of it must be turned."""
    kind = header.format
    if kind is ImageFormat.TIFF:
        exif = _tiff_exif(data)
        turn = orientation(exif) if header.depth == 16 else 1  # Pillow turns a TIFF itself
        return _bytes(exif, TIFF_PROFILE), Metadata(exif, _bytes(exif, TIFF_XMP)), turn
    with described(data, kind) as image:
        exif = read_exif(image)
        turn = 1 if kind is ImageFormat.HEIC else orientation(exif)  # libheif turns one too
        return image.info.get("icc_profile"), Metadata(exif, image.info.get("xmp"), read_iptc(image)), turn


def _tiff_exif(data: bytes) -> Image.Exif:
    """A TIFF is what a block of EXIF is; the tags of its first page."""
    exif = Image.Exif()
    try:
        exif.load_from_fp(io.BytesIO(data))
    except DAMAGED:
        return Image.Exif()
    return exif


def _bytes(exif: Image.Exif, tag: int) -> bytes | None:
    try:
        value = exif.get(tag)
    except DAMAGED:
        return None
    return value if isinstance(value, bytes) else None


def _deep(data: bytes, kind: ImageFormat) -> tuple[Pixels, Pixels | None]:
    """Of 16 bits: (H, W, 3), or (H, W) where it is grey, and alpha (H, W)."""
    pixels = read_png(data) if kind is ImageFormat.PNG else read_tiff(data)
    if pixels.ndim == 2:
        return pixels, None
    *colours, last = np.moveaxis(pixels, -1, 0)
    if len(colours) == 1:
        return colours[0], last
    return (pixels[..., :3], last) if len(colours) == 3 else (pixels, None)


def _shallow(data: bytes, header: Header, profile: bytes | None) -> tuple[Pixels, Pixels | None]:
    """Of 8 bits, the same."""
    with opened(data, header.format) as image:
        if image.width * image.height > header.pixels:  # two parsers, of which one has been lied to
            raise CorruptImage("the file says of its image that it has two sizes; save it anew")
        image.load()
        return _split(image, profile)


def _split(image: Image.Image, profile: bytes | None) -> tuple[Pixels, Pixels | None]:
    """Colours and alpha of a loaded image of any of Pillow's modes of 8 bits."""
    image = image.convert(STRAIGHT[image.mode]) if image.mode in STRAIGHT else image
    if image.mode in ("CMYK", "LAB"):
        return np.asarray(flattened(image, profile)), None
    is_grey = image.mode in GREY_MODES
    if not image.has_transparency_data:
        return np.asarray(image.convert("L" if is_grey else "RGB")), None
    whole = np.asarray(image.convert("LA" if is_grey else "RGBA"))
    return whole[..., 0] if is_grey else whole[..., :3], whole[..., -1]


def _picture(pixels: Pixels, alpha: Pixels | None) -> Picture:
    if alpha is None or alpha.min() == np.iinfo(alpha.dtype).max:
        return Picture(pixels)
    return Picture(filled(pixels, alpha), alpha)


def _guarded(decoded: Callable[[], Decoded]) -> Decoded:
    """What the function gives; raises CorruptImage for whatever it raises, but for a lack of memory."""
    try:
        return decoded()
    except (MemoryError, CorruptImage):
        raise
    except Exception as error:
        raise CorruptImage(f"the image cannot be decoded: {error}; send a complete file") from error
