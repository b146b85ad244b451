"""Bytes to pixels and back: what a photograph is, apart from what is done with it.

The order is fixed: `inspect` reads the header and nothing else, limits are checked on it, and only then `decode` spends
memory. Inside the service a picture is upright, in sRGB, 8 bits a channel, its transparency apart.
"""

import io
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL import WebPImagePlugin as _  # noqa: F401 # registers itself; Pillow would go looking at the first WebP
from PIL.Image import Resampling, Transpose

from service.errors import CorruptImage, ImageTooLarge, MalformedBody, NotAcceptable, UnsupportedImage

Pixels = NDArray[np.uint8]
"""uint8, (H, W, 3), RGB; or (H, W) where it says so."""

DEFAULT_QUALITY = 90

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What undoes each value of EXIF's orientation tag (EXIF 2.32, section 4.6.5)."""

PNG_COMPRESSION = 3
"""A photograph comes out 4 % larger than at zlib's default of 6, in less than half the time."""


class ImageFormat(StrEnum):
    """A format that is read and written; the value is its name in a query."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """As in Content-Type and Accept."""
        return f"image/{self.value}"

    @property
    def largest_side(self) -> int:
        """Pixels that the format can express (JPEG: what libjpeg writes, WebP: 14 bits, PNG: 31 bits)."""
        return {ImageFormat.JPEG: 65_500, ImageFormat.PNG: 2**31 - 1, ImageFormat.WEBP: 16_383}[self]

    @property
    def has_alpha(self) -> bool:
        """Whether it can be transparent."""
        return self is not ImageFormat.JPEG


@dataclass(frozen=True)
class Limits:
    """Largest images, in pixels (width × height)."""

    max_pixels: int
    max_output_pixels: int
    max_whole_pixels: int
    """Of an input that cannot be cut into tiles."""

    def check(self, header: "Header", scale: int, output: ImageFormat, *, tileable: bool) -> None:
        """Raise ImageTooLarge where the image, or its enlargement by `scale` as `output`, exceeds a limit."""
        _check("max_pixels", header.pixels, self.max_pixels, "pixels in the input")
        if not tileable:
            _check("max_whole_pixels", header.pixels, self.max_whole_pixels, "pixels in the input of this model")
        _check("max_output_pixels", header.pixels * scale**2, self.max_output_pixels, "pixels in the output")
        side = max(header.width, header.height) * scale
        _check(f"{output}_side", side, output.largest_side, f"pixels on a side of a {output} image")


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded. The sides are those of the file, before orientation."""

    format: ImageFormat
    width: int
    height: int
    has_alpha: bool

    @property
    def pixels(self) -> int:
        """Width × height."""
        return self.width * self.height


@dataclass(frozen=True)
class Picture:
    """A decoded image: `pixels` uint8 (H, W, 3), sRGB, upright; `alpha` uint8 (H, W), None where it is opaque."""

    pixels: Pixels
    alpha: Pixels | None = None

    def repainted(self, pixels: Pixels) -> "Picture":
        """The same picture with what a network made of its pixels, (H, W, 3); its transparency gets their size."""
        height, width = pixels.shape[:2]
        if self.alpha is None or self.alpha.shape == (height, width):
            return Picture(pixels, self.alpha)
        return Picture(pixels, np.asarray(Image.fromarray(self.alpha).resize((width, height), Resampling.BICUBIC)))


def inspect(data: bytes) -> Header:
    """The header of an image, without decoding it.

    Raises MalformedBody (nothing there), UnsupportedImage (by content, whatever its name) or CorruptImage.
    """
    kind = _sniff(data)
    with _opened(data, kind) as image:
        if getattr(image, "is_animated", False) and kind is not ImageFormat.JPEG:  # JPEG: a photo with its previews
            raise UnsupportedImage("animated images are not accepted; send one frame", accepted=accepted_types())
        return Header(kind, image.width, image.height, image.has_transparency_data)


def decode(data: bytes) -> Picture:
    """Decode an accepted image; raises CorruptImage where it is truncated or otherwise broken."""
    with _opened(data, _sniff(data)) as image:
        try:
            image.load()
            upright = _upright(image)
        except MemoryError:
            raise
        except Exception as error:
            raise CorruptImage(f"the image cannot be decoded: {error}; send a complete file") from error
        return _picture(upright)


def encode(picture: Picture, output: ImageFormat, quality: int = DEFAULT_QUALITY) -> bytes:
    """The picture as a file. Quality, 1 to 100, is that of JPEG and lossy WebP; JPEG gets a white background."""
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
        image = image if output.has_alpha else _on_white(image)
    file = io.BytesIO()
    match output:
        case ImageFormat.JPEG:
            image.save(file, "JPEG", quality=quality)
        case ImageFormat.WEBP:
            image.save(file, "WEBP", quality=quality)
        case ImageFormat.PNG:
            image.save(file, "PNG", compress_level=PNG_COMPRESSION)
    return file.getvalue()


def output_formats(requested: str | None, accept: str | None) -> tuple[ImageFormat, ...]:
    """The formats that the client likes best, equally: by the query's `format`, else by Accept (RFC 9110, 12.5.1).

    Raises NotAcceptable with the list of formats where there is none.
    """
    if requested is not None:
        formats = tuple(kind for kind in ImageFormat if kind == requested.lower().replace("jpg", "jpeg"))
    else:
        formats = _preferred(accept or "*/*")
    if not formats:
        asked = f"format={requested}" if requested is not None else f"Accept: {accept}"
        raise NotAcceptable(f"{asked} leaves none of {', '.join(accepted_types())}", available=accepted_types())
    return formats


def choose(formats: Sequence[ImageFormat], header: Header) -> ImageFormat:
    """Of equally good formats the one that keeps transparency, and then the input's own."""
    return min(formats, key=lambda kind: (header.has_alpha and not kind.has_alpha, kind is not header.format))


def accepted_types() -> list[str]:
    """The media types that are read and written."""
    return [kind.media_type for kind in ImageFormat]


def _sniff(data: bytes) -> ImageFormat:
    if not data:
        raise MalformedBody("the body is empty; send the bytes of an image", accepted=accepted_types())
    if data.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    raise UnsupportedImage(f"the body is none of {', '.join(accepted_types())}", accepted=accepted_types())


def _opened(data: bytes, kind: ImageFormat) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=(kind.name,))
    except Exception as error:  # Pillow's plugins raise whatever their parsing stumbles upon
        raise CorruptImage(f"the header of the {kind} image is broken; send a complete file") from error


def _check(limit: str, actual: int, accepted: int, what: str) -> None:
    if actual > accepted:
        detail = f"{actual} {what} exceed the {accepted} that are accepted"
        raise ImageTooLarge(detail, limit=limit, actual=actual, max_accepted=accepted)


def _upright(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    turn = UPRIGHT.get(_orientation(image))
    turned = image if turn is None else image.transpose(turn)
    return _to_srgb(_to_8_bits(turned), profile)


def _orientation(image: Image.Image) -> int:
    try:
        orientation: int = image.getexif().get(ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, OSError, struct.error):  # a photo is not lost for its damaged EXIF block
        return 1
    return orientation


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Modes with more than 8 bits a channel, which Pillow has for grey only, rounded to 8."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB or RGBA in sRGB. Without a profile, or with one that is broken or of another colour space, taken as it is."""
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    colour = image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")
    rgb = (_through(colour, profile) if profile else colour).convert("RGB")
    if alpha is not None:
        rgb.putalpha(alpha)
    return rgb


def _through(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return converted or image


def _picture(image: Image.Image) -> Picture:
    pixels = np.array(image.convert("RGB"))
    return Picture(pixels, np.array(image.getchannel("A")) if image.mode == "RGBA" else None)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _preferred(accept: str) -> tuple[ImageFormat, ...]:
    qualities = {kind: _quality(accept, kind.media_type) for kind in ImageFormat}
    best = max(qualities.values())
    return tuple(kind for kind, quality in qualities.items() if quality == best > 0)


def _quality(accept: str, media_type: str) -> float:
    """The weight of a media type: that of the most specific range which covers it, 0 where none does."""
    weights: dict[str, float] = {}
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        weights[name] = next((_weight(part) for part in parameters if part.startswith("q=")), 1.0)
    ranges = (media_type, "image/jpg" if media_type == "image/jpeg" else media_type, "image/*", "*/*")
    return next((weights[name] for name in ranges if name in weights), 0.0)


def _weight(parameter: str) -> float:
    return float(parameter[2:]) if re.fullmatch(r"q=[01](\.\d{0,3})?", parameter) else 0.0
