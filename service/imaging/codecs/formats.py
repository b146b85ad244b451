"""The image formats, and how they are recognized by their first bytes."""

import re
from collections.abc import Iterable
from enum import StrEnum

from service.errors import MalformedBody, UnsupportedImage

HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
"""Brands of ISO base media files (ISO/IEC 23008-12, annex B; AV1 Image File Format, section 8)."""


class ImageFormat(StrEnum):
    """A format that is read or written; the value is its name in a query."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"
    TIFF = "tiff"
    GIF = "gif"
    HEIC = "heic"
    JXL = "jxl"
    BMP = "bmp"

    @property
    def media_type(self) -> str:
        """The type in Content-Type and Accept."""
        return f"image/{self.value}"

    @property
    def max_side(self) -> int:
        """The largest width or height, in pixels, that the format or its encoder in Pillow supports."""
        sides = {ImageFormat.JPEG: 65_500, ImageFormat.WEBP: 16_383, ImageFormat.AVIF: 16_384, ImageFormat.GIF: 65_535}
        return sides.get(self, 2**31 - 1)

    @property
    def supports_alpha(self) -> bool:
        """Whether pixels can be transparent."""
        return self is not ImageFormat.JPEG

    @property
    def supports_animation(self) -> bool:
        """Whether several frames are read and written; animated AVIF is not."""
        return self in (ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.GIF)

    @property
    def supports_16_bit(self) -> bool:
        """Whether 16 bits a channel are read and written."""
        return self in (ImageFormat.PNG, ImageFormat.TIFF)

    @property
    def supports_lossless(self) -> bool:
        """Whether pixels can be stored exactly; PNG and TIFF always do."""
        return self in (ImageFormat.PNG, ImageFormat.TIFF, ImageFormat.WEBP)

    @property
    def supports_grey(self) -> bool:
        """Whether a file can have a single channel of colour."""
        return self in (ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.TIFF)

    @property
    def supports_exif(self) -> bool:
        """Whether a file can have EXIF."""
        return self is not ImageFormat.GIF

    @property
    def supports_profile(self) -> bool:
        """Whether a file can have an ICC profile."""
        return self is not ImageFormat.GIF


SIGNATURES = {
    b"\xff\xd8\xff": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
    b"GIF87a": ImageFormat.GIF,
    b"GIF89a": ImageFormat.GIF,
    b"II*\0": ImageFormat.TIFF,
    b"MM\0*": ImageFormat.TIFF,
    b"II+\0": ImageFormat.TIFF,
    b"MM\0+": ImageFormat.TIFF,
    b"\xff\x0a": ImageFormat.JXL,
    b"\0\0\0\x0cJXL \r\n\x87\n": ImageFormat.JXL,
}
"""The first bytes of files; of TIFF in both byte orders, and as BigTIFF; of JPEG XL bare, and in its container."""

BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
"""Bytes of the second header of a BMP: with them it is told from a text that begins with its two letters."""

EXTENSIONS = {
    "jpg": "jpeg",
    "jpe": "jpeg",
    "jfif": "jpeg",
    "pjpeg": "jpeg",
    "pjp": "jpeg",
    "tif": "tiff",
    "apng": "png",
}
"""Other names of written formats: what their files are called."""

FILE_NAME = re.compile(rb"[\w ~./\\:-]{1,250}\.\w{2,5}\s?")
"""A body that is the name of a file instead of the file."""

FORGOTTEN_AT = "; it is the name of a file: curl sends the file itself with an @ before it, --data-binary @photo.jpg"

READ_ONLY = (ImageFormat.HEIC, ImageFormat.JXL, ImageFormat.BMP)

WRITTEN_FORMATS = tuple(kind for kind in ImageFormat if kind not in READ_ONLY)
"""The formats that an output can have."""


def readable_types() -> list[str]:
    """The media types that are read."""
    return _media_types(ImageFormat)


def writable_types() -> list[str]:
    """The media types that are written."""
    return _media_types(WRITTEN_FORMATS)


def sniff(data: bytes) -> ImageFormat:
    """Recognize a format by its first bytes. Raises MalformedBody for no bytes, and UnsupportedImage."""
    if not data:
        raise MalformedBody("the body is empty; send the bytes of an image", accepted=readable_types())
    kind = _match_signature(data)
    if kind is None:
        raise unsupported_image("the body", FORGOTTEN_AT if FILE_NAME.fullmatch(data) else "")
    return kind


def unsupported_image(what: str, remedy: str = "") -> UnsupportedImage:
    """The error for something that has none of the readable types."""
    types = readable_types()
    return UnsupportedImage(f"{what} is none of {', '.join(types)}{remedy}", accepted=types)


def _media_types(kinds: Iterable[ImageFormat]) -> list[str]:
    return [kind.media_type for kind in kinds]


def _match_signature(data: bytes) -> ImageFormat | None:
    if data.startswith(b"RIFF"):
        return ImageFormat.WEBP if data[8:12] == b"WEBP" else None
    if data[4:8] == b"ftyp":
        return _match_brand(data)
    if data[:2] == b"BM":
        return ImageFormat.BMP if int.from_bytes(data[14:18], "little") in BMP_HEADER_SIZES else None
    return next((kind for signature, kind in SIGNATURES.items() if data.startswith(signature)), None)


def _match_brand(data: bytes) -> ImageFormat | None:
    """The format of an ISO base media file, by its major and compatible brands."""
    length = int.from_bytes(data[:4], "big")
    brands = {data[8:12]} | {data[i : i + 4] for i in range(16, min(length, 256), 4)}
    if brands & AVIF_BRANDS:
        return ImageFormat.AVIF
    return ImageFormat.HEIC if brands & HEIC_BRANDS else None
