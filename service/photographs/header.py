"""What is known of a photograph before it is decoded."""

import io
import logging
from dataclasses import dataclass

import tifffile
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from service.errors import CorruptImage, UnsupportedImage
from service.photographs import gif
from service.photographs.deep import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO
from service.photographs.exif import ORIENTATION_TAG, orientation, read_exif
from service.photographs.formats import ImageFormat, readable_types, sniff, unsupported
from service.photographs.png import without_pixels

PLUGINS = (AvifImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Of Pillow's formats those that are read. Imported, they are registered; Pillow would else go looking for more."""

GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"})

PNG_DEPTH, PNG_COLOUR = 24, 25
"""Where a PNG says how many bits a channel has, and what its channels are (PNG, section 11.2.1)."""

PNG_GREY = (0, 4)

REDUCED = 1
"""The bit of a TIFF's subfile type which says that an image is the preview of another one, as in cameras' raw files."""

TURNED = range(5, 9)
"""The values of EXIF's orientation tag by which rows are columns (EXIF 2.32, section 4.6.5)."""

UNSIGNED = 1
"""The sample format of TIFF's usual pixels."""

logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded. The sides are those of the file, before orientation."""

    format: ImageFormat
    width: int
    height: int
    has_alpha: bool
    frames: int = 1
    """More than one where it moves."""
    depth: int = 8
    """Bits a channel, 8 or 16."""
    grey: bool = False
    turned: bool = False
    """Whether its sides change places when it is put upright."""

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.width * self.height * self.frames

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width when it is upright."""
        return (self.width, self.height) if self.turned else (self.height, self.width)

    @property
    def family(self) -> ImageFormat:
        """The format that an answer has if nobody asks for another one.

        What is not written, or only in 256 colours though it does not move, becomes what loses least.
        """
        if self.format is ImageFormat.GIF and self.frames == 1:
            return ImageFormat.PNG
        if self.format is ImageFormat.HEIC:
            return ImageFormat.PNG if self.has_alpha else ImageFormat.JPEG
        return self.format


def inspect(data: bytes) -> Header:
    """The header of an image, without decoding it.

    Raises MalformedBody (nothing there), UnsupportedImage (by content, whatever its name) or CorruptImage.
    """
    kind = sniff(data)
    if kind is ImageFormat.TIFF:
        return _of_tiff(data)
    with opened(data, kind) as image:
        frames = gif.frame_count(data) if kind is ImageFormat.GIF else frame_count(image, kind)
        png = kind is ImageFormat.PNG and frames == 1
        deep = png and data[PNG_DEPTH] == 16
        grey = data[PNG_COLOUR] in PNG_GREY if png else image.mode in GREY_MODES and frames == 1
        has_alpha = frames > 1 or image.has_transparency_data
        turned = frames == 1 and kind is not ImageFormat.HEIC and _is_turned(data, kind)  # libheif has turned it
        return Header(kind, image.width, image.height, has_alpha, frames, 16 if deep else 8, grey, turned)


def opened(data: bytes, kind: ImageFormat) -> Image.Image:
    """Pillow's view of a file of that format; raises CorruptImage where its header is broken."""
    try:
        if kind is ImageFormat.HEIC:
            from pillow_heif import HeifImageFile  # noqa: PLC0415 # an extra

            heif: Image.Image = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
            return heif
        return Image.open(io.BytesIO(data), formats=(kind.name,))
    except Exception as error:  # Pillow's plugins raise whatever their parsing stumbles upon
        raise CorruptImage(f"the header of the {kind} image is broken; send a complete file") from error


def frame_count(image: Image.Image, kind: ImageFormat) -> int:
    """Frames of a file that moves, without the still image that an animated PNG can have beside them; else 1.

    Further pictures of a JPEG or HEIC are previews and the like. Raises UnsupportedImage where AVIF moves.
    """
    try:
        count = int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise CorruptImage("the frames of the image are broken; send a complete file") from error
    if kind is ImageFormat.AVIF and count > 1:
        moving = "animated AVIF is not accepted; send one frame, or an animated GIF, WebP or PNG"
        raise UnsupportedImage(moving, accepted=readable_types())
    return max(1, count - bool(image.info.get("default_image"))) if kind.moves else 1


def described(data: bytes, kind: ImageFormat) -> Image.Image:
    """Pillow's view of what stands in a file beside its pixels, which cannot be had of it.

    Of a PNG, whose blocks may come after the pixels, without decoding these to find them.
    """
    if kind is not ImageFormat.PNG:
        return opened(data, kind)
    try:
        return opened(without_pixels(data), kind)
    except CorruptImage:  # a photograph is not lost for a damaged block after its pixels
        return opened(data, kind)


def _is_turned(data: bytes, kind: ImageFormat) -> bool:
    with described(data, kind) as image:
        return orientation(read_exif(image)) in TURNED


def _of_tiff(data: bytes) -> Header:
    """Of its first page."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            width, height, bits = page.imagewidth, page.imagelength, page.bitspersample
            accepted = _is_photograph(page)
            has_alpha = any(extra in (1, 2) for extra in page.extrasamples)
            simple = page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
            grey = page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
            turned = page.tags.valueof(ORIENTATION_TAG, default=1) in TURNED
    except Exception as error:
        raise CorruptImage("the header of the tiff image is broken; send a complete file") from error
    if not accepted or width < 1 or height < 1:
        raise unsupported("a TIFF of other than 1 to 8 or 16 bits a channel, or a camera's raw file,")
    return Header(
        ImageFormat.TIFF, width, height, has_alpha, depth=16 if bits == 16 and simple else 8, grey=grey, turned=turned
    )


def _is_photograph(page: tifffile.TiffPage) -> bool:
    kind = page.sampleformat in (UNSIGNED, None) and page.bitspersample in (1, 2, 4, 8, 16)
    raw = page.subfiletype & REDUCED or "DNGVersion" in page.tags or page.photometric in (32_803, 34_892)
    return kind and not raw
