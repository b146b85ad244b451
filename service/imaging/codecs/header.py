"""Reads what must be known of an image before it is decoded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from service.errors import CorruptImage, OutOfResources, UnsupportedImage
from service.imaging.codecs import bmp, gif, jxl, png
from service.imaging.codecs.exif import TRANSPOSING_ORIENTATIONS, read_exif, read_orientation
from service.imaging.codecs.formats import ImageFormat, readable_types, sniff
from service.imaging.codecs.isobmff import read_bits, read_crop
from service.imaging.codecs.jpeg_segments import check_coding
from service.imaging.codecs.jpeg_twelve_bit import is_twelve_bit
from service.imaging.codecs.opening import open_image, open_metadata
from service.imaging.codecs.tiff_layout import read_layout

GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes without colour."""


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded. Width and height are those of the file, before orientation."""

    format: ImageFormat
    width: int
    height: int
    has_alpha: bool
    frames: int = 1
    """More than one in an animation."""
    depth: int = 8
    """Bits a channel, 8 or 16: what is between is decoded to 16, what has fewer to 8."""
    grey: bool = False
    transposed: bool = False
    """Whether the EXIF orientation swaps width and height."""
    lossless: bool = False
    """Whether the pixels of a format that can be either are known to be stored exactly."""

    @property
    def pixels(self) -> int:
        """Width × height × frames."""
        return self.width * self.height * self.frames

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width after the EXIF orientation is applied."""
        return (self.width, self.height) if self.transposed else (self.height, self.width)

    @property
    def default_output_format(self) -> ImageFormat:
        """The format of an output for which none was requested: that of the input wherever possible.

        HEIC, JPEG XL and BMP are not written, and a GIF of one frame would be reduced to 256 colours: they become JPEG
        where that keeps what they have, and else PNG. HEIC is lossy, whatever its depth.
        """
        if self.format is ImageFormat.BMP or (self.format is ImageFormat.GIF and self.frames == 1):
            return ImageFormat.PNG
        if self.format in (ImageFormat.HEIC, ImageFormat.JXL):
            is_deep = self.depth == 16 and self.format is ImageFormat.JXL
            keeps = not (self.has_alpha or self.lossless or is_deep)
            return ImageFormat.JPEG if keeps else ImageFormat.PNG
        return self.format


def inspect(data: bytes) -> ImageHeader:
    """Read the header of an image without decoding it; its format is recognized by content.

    Raises MalformedBody (no bytes), UnsupportedImage or CorruptImage.
    """
    kind = sniff(data)
    if kind in INSPECTORS:
        return INSPECTORS[kind](data)
    if kind is ImageFormat.JPEG:
        check_coding(data)
    with open_image(data, kind) as image:
        frames = _count_pillow_frames(image, kind)
        if frames > 1:
            return _inspect_animation(data, image, kind, frames)
        return _inspect_still(data, image, kind)


def _inspect_animation(data: bytes, image: Image.Image, kind: ImageFormat, frames: int) -> ImageHeader:
    return ImageHeader(
        kind,
        image.width,
        image.height,
        has_alpha=True,
        frames=frames,
        grey=kind is ImageFormat.PNG and png.is_greyscale(data),
        transposed=_is_transposed(data, kind),
    )


def _count_pillow_frames(image: Image.Image, kind: ImageFormat) -> int:
    """Count the frames of an animation, without the default image of an animated PNG; 1 for all others.

    The further images of a JPEG or HEIC are previews and the like. Raises UnsupportedImage for animated AVIF.
    """
    try:
        count = int(getattr(image, "n_frames", 1))
    except Exception as error:
        broken = CorruptImage("the frames of the image are broken; send a complete file")
        raise (OutOfResources.of(error) or broken) from error
    if kind is ImageFormat.AVIF and count > 1:
        detail = "animated AVIF is not accepted; send one frame, or an animated GIF, WebP or PNG"
        raise UnsupportedImage(detail, accepted=readable_types())
    return max(1, count - bool(image.info.get("default_image"))) if kind.supports_animation else 1


def _inspect_still(data: bytes, image: Image.Image, kind: ImageFormat) -> ImageHeader:
    is_png = kind is ImageFormat.PNG
    crop = read_crop(data, *image.size) if kind is ImageFormat.AVIF else None
    return ImageHeader(
        kind,
        crop.width if crop else image.width,
        crop.height if crop else image.height,
        image.has_transparency_data,
        depth=16 if _is_deep(data, image, kind) else 8,
        grey=png.is_greyscale(data) if is_png else image.mode in GREY_MODES,
        transposed=kind is not ImageFormat.HEIC and _is_transposed(data, kind),  # libheif applies the orientation
    )


def _is_deep(data: bytes, image: Image.Image, kind: ImageFormat) -> bool:
    match kind:
        case ImageFormat.PNG:
            return png.read_bit_depth(data) == 16
        case ImageFormat.HEIC:
            return int(image.info["bit_depth"]) > 8
        case ImageFormat.AVIF:
            return read_bits(data) > 8
    return kind is ImageFormat.JPEG and is_twelve_bit(data)


def _is_transposed(data: bytes, kind: ImageFormat) -> bool:
    with open_metadata(data, kind) as image:
        return read_orientation(read_exif(image)) in TRANSPOSING_ORIENTATIONS


def _inspect_tiff(data: bytes) -> ImageHeader:
    """The header of the first page."""
    layout = read_layout(data)
    return ImageHeader(
        ImageFormat.TIFF,
        layout.width,
        layout.height,
        layout.alpha is not None,
        depth=layout.depth,
        grey=layout.is_grey,
        transposed=layout.orientation in TRANSPOSING_ORIENTATIONS,
    )


def _inspect_bmp(data: bytes) -> ImageHeader:
    bitmap = bmp.read_bitmap(data)
    return ImageHeader(ImageFormat.BMP, bitmap.width, bitmap.height, bitmap.has_alpha, grey=bitmap.is_grey)


def _inspect_gif(data: bytes) -> ImageHeader:
    layout = gif.read_layout(data)
    if layout.frames > 1:
        return ImageHeader(ImageFormat.GIF, layout.width, layout.height, has_alpha=True, frames=layout.frames)
    return ImageHeader(ImageFormat.GIF, layout.width, layout.height, layout.has_alpha, grey=layout.is_grey)


def _inspect_jxl(data: bytes) -> ImageHeader:
    """Upright: libjxl applies the orientation."""
    file = jxl.read_file(data)
    height, width = file.header.upright_size
    return ImageHeader(
        ImageFormat.JXL,
        width,
        height,
        file.header.has_alpha,
        depth=16 if file.header.bits > 8 else 8,
        grey=file.header.is_grey,
        lossless=file.is_lossless,
    )


INSPECTORS: Mapping[ImageFormat, Callable[[bytes], ImageHeader]] = {
    ImageFormat.BMP: _inspect_bmp,
    ImageFormat.GIF: _inspect_gif,
    ImageFormat.JXL: _inspect_jxl,
    ImageFormat.TIFF: _inspect_tiff,
}
"""Formats whose header Pillow does not read, or not well."""
