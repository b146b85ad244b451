"""The formats of photographs, known by their content."""

from collections.abc import Iterable
from enum import StrEnum
from importlib.util import find_spec

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

    @property
    def media_type(self) -> str:
        """As in Content-Type and Accept."""
        return f"image/{self.value}"

    @property
    def largest_side(self) -> int:
        """Pixels that the format, or its encoder here, can express."""
        sides = {ImageFormat.JPEG: 65_500, ImageFormat.WEBP: 16_383, ImageFormat.AVIF: 16_384, ImageFormat.GIF: 65_535}
        return sides.get(self, 2**31 - 1)

    @property
    def written(self) -> bool:
        """Whether answers can have it."""
        return self is not ImageFormat.HEIC

    @property
    def has_alpha(self) -> bool:
        """Whether it can be transparent."""
        return self is not ImageFormat.JPEG

    @property
    def moves(self) -> bool:
        """Whether it can have several frames (those of a moving AVIF are not read or written)."""
        return self in (ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.GIF)

    @property
    def is_deep(self) -> bool:
        """Whether it is written with 16 bits a channel where there are so many."""
        return self in (ImageFormat.PNG, ImageFormat.TIFF)

    @property
    def is_lossless(self) -> bool:
        """Whether `lossless` can be asked of it; PNG and TIFF always are."""
        return self in (ImageFormat.PNG, ImageFormat.TIFF, ImageFormat.WEBP)

    @property
    def has_grey(self) -> bool:
        """Whether it can have one channel of colour."""
        return self in (ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.TIFF)

    @property
    def has_profile(self) -> bool:
        """Whether it can say in which colour space it is."""
        return self is not ImageFormat.GIF


def reads_heic() -> bool:
    """Whether the package is there that reads HEIC (the extra `heic`)."""
    return find_spec("pillow_heif") is not None


def readable_types() -> list[str]:
    """The media types that are read."""
    return _types(kind for kind in ImageFormat if kind is not ImageFormat.HEIC or reads_heic())


def writable_types() -> list[str]:
    """The media types that are written."""
    return _types(kind for kind in ImageFormat if kind.written)


def sniff(data: bytes) -> ImageFormat:
    """The format of a file by its first bytes; raises MalformedBody (nothing there) or UnsupportedImage."""
    if not data:
        raise MalformedBody("the body is empty; send the bytes of an image", accepted=readable_types())
    kind = _signed(data)
    if kind is None:
        raise unsupported("the body")
    if kind is ImageFormat.HEIC and not reads_heic():
        raise unsupported("the body is image/heic, which this service reads where the extra `heic` is installed; it")
    return kind


def unsupported(what: str) -> UnsupportedImage:
    """The refusal of something that is none of the formats which are read."""
    return UnsupportedImage(f"{what} is none of {', '.join(readable_types())}", accepted=readable_types())


def _types(kinds: Iterable[ImageFormat]) -> list[str]:
    return [kind.media_type for kind in kinds]


def _signed(data: bytes) -> ImageFormat | None:
    if data.startswith(b"RIFF"):
        return ImageFormat.WEBP if data[8:12] == b"WEBP" else None
    if data[4:8] == b"ftyp":
        return _branded(data)
    signatures = {
        b"\xff\xd8\xff": ImageFormat.JPEG,
        b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
        b"GIF87a": ImageFormat.GIF,
        b"GIF89a": ImageFormat.GIF,
        b"II*\0": ImageFormat.TIFF,
        b"MM\0*": ImageFormat.TIFF,
        b"II+\0": ImageFormat.TIFF,
        b"MM\0+": ImageFormat.TIFF,
    }
    return next((kind for signature, kind in signatures.items() if data.startswith(signature)), None)


def _branded(data: bytes) -> ImageFormat | None:
    """Of an ISO base media file, by its major and its compatible brands."""
    length = int.from_bytes(data[:4], "big")
    brands = {data[8:12]} | {data[i : i + 4] for i in range(16, min(length, 256), 4)}
    if brands & AVIF_BRANDS:
        return ImageFormat.AVIF
    return ImageFormat.HEIC if brands & HEIC_BRANDS else None
