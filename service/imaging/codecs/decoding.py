"""Decodes files to pictures."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageSequence
from tifffile import PHOTOMETRIC

from service.errors import CorruptImage, OutOfResources, ServiceError
from service.imaging.codecs import apng_frames, avif, bmp, gif, gif_frames, heic, jxl
from service.imaging.codecs.alpha import fill_transparent
from service.imaging.codecs.colour import (
    ColourSpace,
    adobe_rgb_profile,
    assign_colour_space,
    cmyk_to_srgb,
    converted_srgb,
    flatten_to_rgb,
    lab_to_srgb,
)
from service.imaging.codecs.exif import read_exif, read_orientation
from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.hdr import HdrColours
from service.imaging.codecs.header import GREY_MODES, ImageHeader, inspect
from service.imaging.codecs.iptc import IPTC_RESOURCE, find_iptc, read_owner
from service.imaging.codecs.jpeg import read_jpeg
from service.imaging.codecs.jpeg_segments import extract_picture
from service.imaging.codecs.jpeg_twelve_bit import read_twelve_bit
from service.imaging.codecs.metadata import Metadata
from service.imaging.codecs.opening import open_image, open_metadata, read_declared_colours
from service.imaging.codecs.picture import DecodedImage, Picture
from service.imaging.codecs.png import extract_pixels
from service.imaging.codecs.png_rows import require_all_rows
from service.imaging.codecs.sixteen_bit import read_png
from service.imaging.codecs.tiff_directory import Directory
from service.imaging.codecs.tiff_exif import read_tiff_exif
from service.imaging.codecs.tiff_layout import Tag, read_layout
from service.imaging.codecs.tiff_reading import read_tiff
from service.imaging.pixels import Pixels, apply_orientation, to_8_bits

STRAIGHT_MODES = {"La": "LA", "RGBa": "RGBA"}
"""Pillow's modes with premultiplied alpha, and the same with straight alpha."""

UPRIGHT_FORMATS = (ImageFormat.HEIC, ImageFormat.JXL)
"""Those whose decoders apply the orientation."""

READERS: Mapping[ImageFormat, Callable[[bytes], Pixels]] = {
    ImageFormat.AVIF: avif.read_pixels,
    ImageFormat.BMP: bmp.read_pixels,
    ImageFormat.GIF: gif_frames.read_first_frame,
    ImageFormat.JXL: jxl.read_pixels,
}
"""Decoders of formats that Pillow does not read, or not well."""

DEFAULT_IMAGE = "default_image"
"""What Pillow calls an image before the frames, which an animation does not show, not even one of a single frame."""

WEBP_CLOCK = 2**32
"""Milliseconds after which the time that libwebp counts from the first frame begins anew, in the middle negative."""

Decoded = TypeVar("Decoded")


class Channels(NamedTuple):
    """The stored values of an image: colours (H, W, 3) or grey (H, W), and alpha (H, W) of the same type."""

    colours: Pixels
    alpha: Pixels | None

    def to_8_bits(self) -> "Channels":
        """Round to uint8."""
        return Channels(to_8_bits(self.colours), None if self.alpha is None else to_8_bits(self.alpha))


class SideData(NamedTuple):
    """What a file has beside its pixels."""

    profile: bytes | HdrColours | None
    """How colours are meant."""
    metadata: Metadata
    orientation: int = 1
    """The EXIF orientation that is still to be applied to what the decoder returns."""


def decode(
    data: bytes, *, keep_grey: bool = False, keep_16_bit: bool = False, header: ImageHeader | None = None
) -> DecodedImage:
    """Decode a file that `inspect` accepts; the frames of an animation are decoded one by one as they are asked for.

    By default grey becomes RGB and 16 bits a channel become 8. `header` is that of the file, where the caller has it.
    Raises CorruptImage for truncated or damaged files.
    """
    header = inspect(data) if header is None else header
    if header.frames > 1:
        return _decode_animation(data, header)
    return _guard(lambda: _decode_still(data, header, keep_grey=keep_grey and header.grey, keep_16_bit=keep_16_bit))


def _decode_still(data: bytes, header: ImageHeader, *, keep_grey: bool, keep_16_bit: bool) -> DecodedImage:
    profile, metadata, orientation = _read_side_data(data, header)
    if not profile and metadata.is_adobe_rgb:
        profile = adobe_rgb_profile()
    stored = _read_channels(data, header, profile)
    pixels, space = _assign_space(stored.colours, profile, keep_grey=keep_grey)
    channels = Channels(pixels, stored.alpha)
    # Rounded last: 8 bits of linear light are too few for the dark colours of sRGB.
    picture = _make_picture(*_turn(channels if keep_16_bit else channels.to_8_bits(), orientation))
    return DecodedImage(header, iter([picture]), space, keep_grey, metadata=metadata)


def _decode_animation(data: bytes, header: ImageHeader) -> DecodedImage:
    side = _read_side_data(data, header)
    _, space = _assign_space(np.zeros((1, 1) if header.grey else (1, 1, 3), np.uint8), side.profile)
    frames = _decode_frames(FRAME_READERS[header.format](data), side, is_grey=header.grey)
    return DecodedImage(header, frames, space, loop_count=_read_loop_count(data, header.format), metadata=side.metadata)


def _decode_frames(frames: Iterator[tuple[Pixels, int]], side: SideData, *, is_grey: bool) -> Iterator[Picture]:
    while (frame := _guard(lambda: next(frames, None))) is not None:
        stored, milliseconds = frame
        colours, alpha = _turn(_split_array(stored), side.orientation)
        pixels, _ = _assign_space(colours[..., 0] if is_grey else colours, side.profile)
        yield replace(_make_picture(*Channels(pixels, alpha).to_8_bits()), milliseconds=milliseconds)


def _assign_space(
    colours: Pixels, profile: bytes | HdrColours | None, *, keep_grey: bool = False
) -> tuple[Pixels, ColourSpace]:
    """The pixels to work on, (H, W, 3), and their space. That of grey becomes sRGB where it is not kept."""
    pixels, space = assign_colour_space(colours, profile)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    return (space.to_srgb(pixels), converted_srgb()) if space.is_grey and not keep_grey else (pixels, space)


def _read_webp_frames(data: bytes) -> Iterator[tuple[Pixels, int]]:
    """Yield the frames as they are shown: libwebp puts them together."""
    with open_image(data, ImageFormat.WEBP) as image:
        for frame in ImageSequence.Iterator(image):
            pixels = np.array(frame.convert("RGBA" if frame.has_transparency_data else "RGB"))
            yield pixels, round(float(frame.info.get("duration") or 0)) % WEBP_CLOCK


FRAME_READERS: Mapping[ImageFormat, Callable[[bytes], Iterator[tuple[Pixels, int]]]] = {
    ImageFormat.GIF: gif_frames.read_frames,
    ImageFormat.PNG: apng_frames.read_frames,
    ImageFormat.WEBP: _read_webp_frames,
}
"""Decoders of animations: uint8 (H, W, 4), of a PNG of 16 bits uint16, and milliseconds."""


def _read_loop_count(data: bytes, kind: ImageFormat) -> int:
    """How often an animation is played, 0 for ever."""
    if kind is ImageFormat.GIF:
        return gif.read_loop_count(data)
    with open_image(data, kind) as image:
        return int(image.info.get("loop") or 0)


def _read_side_data(data: bytes, header: ImageHeader) -> SideData:
    kind = header.format
    if kind is ImageFormat.TIFF:
        layout = read_layout(data)
        metadata = Metadata(read_tiff_exif(data), layout.directory.raw(Tag.XMP), _read_tiff_iptc(layout.directory))
        return SideData(layout.directory.raw(Tag.ICC_PROFILE), metadata, layout.orientation)
    with open_metadata(data, kind) as image:
        exif = read_exif(image)
        orientation = 1 if kind in UPRIGHT_FORMATS else read_orientation(exif)
        metadata = Metadata(exif, image.info.get("xmp"), _read_iptc(image))
        return SideData(read_declared_colours(image, is_grey=header.grey), metadata, orientation)


def _read_iptc(image: Image.Image) -> dict[str, list[str]]:
    """Creator and rights in the image resources, which Pillow finds in a JPEG, and `open_metadata` in a PNG."""
    return read_owner(image.info.get("photoshop", {}).get(IPTC_RESOURCE))


def _read_tiff_iptc(directory: Directory) -> dict[str, list[str]]:
    """Creator and rights in a tag, whose bytes programs declare as any type, or among the image resources."""
    resources = directory.stored(Tag.IMAGE_RESOURCES)
    return read_owner(directory.stored(Tag.IPTC)) or read_owner(resources and find_iptc(resources))


def _read_channels(data: bytes, header: ImageHeader, profile: bytes | HdrColours | None) -> Channels:
    if header.format in READERS:
        return _split_array(READERS[header.format](data))
    if header.format is ImageFormat.TIFF:
        return _read_tiff(data, profile)
    if header.depth == 8:
        return _read_8_bit(data, header, profile)
    if header.format is ImageFormat.JPEG:
        return _read_twelve_bit(data, profile)
    return _split_array(heic.read_deep(data) if header.format is ImageFormat.HEIC else _read_deep_png(data))


def _read_deep_png(data: bytes) -> Pixels:
    with open_image(data, ImageFormat.PNG) as image:
        is_hidden = image.info.get(DEFAULT_IMAGE)
    return apng_frames.read_first_frame(data) if is_hidden else read_png(extract_pixels(data))


def _read_tiff(data: bytes, profile: bytes | HdrColours | None) -> Channels:
    colours, alpha, model = read_tiff(data)
    if model == PHOTOMETRIC.ICCLAB:
        return Channels(lab_to_srgb(colours, profile, read_layout(data).lab_white), alpha)
    return Channels(cmyk_to_srgb(colours, profile) if model == PHOTOMETRIC.SEPARATED else colours, alpha)


def _read_twelve_bit(data: bytes, profile: bytes | HdrColours | None) -> Channels:
    pixels = read_twelve_bit(extract_picture(data))
    return Channels(cmyk_to_srgb(pixels, profile) if pixels.shape[2:] == (4,) else pixels, None)


def _split_array(pixels: Pixels) -> Channels:
    match pixels.shape[2:]:
        case (2,):
            return Channels(pixels[..., 0], pixels[..., 1])
        case (4,):
            return Channels(pixels[..., :3], pixels[..., 3])
    return Channels(pixels, None)


def _read_8_bit(data: bytes, header: ImageHeader, profile: bytes | HdrColours | None) -> Channels:
    with _open_pixels(data, header.format) as image:
        # Limits were checked on what another parser found, and a crafted file can give two parsers two sizes.
        if image.width * image.height > header.pixels:
            raise CorruptImage("the file says of its image that it has two sizes; save it anew")
        if image.info.get(DEFAULT_IMAGE):
            return _split_array(apng_frames.read_first_frame(data))
        image.load()
        if header.format is ImageFormat.PNG:
            require_all_rows(image, data)
        return _split_channels(image, profile)


def _open_pixels(data: bytes, kind: ImageFormat) -> Image.Image:
    return read_jpeg(extract_picture(data)) if kind is ImageFormat.JPEG else open_image(data, kind)


def _split_channels(image: Image.Image, profile: bytes | HdrColours | None) -> Channels:
    """Colours and alpha of a loaded image in any of Pillow's 8-bit modes; CMYK and Lab are converted to sRGB."""
    image = image.convert(STRAIGHT_MODES[image.mode]) if image.mode in STRAIGHT_MODES else image
    if image.mode in ("CMYK", "LAB"):
        return Channels(np.asarray(flatten_to_rgb(image, profile)), None)
    is_grey = image.mode in GREY_MODES
    if not image.has_transparency_data:
        return Channels(np.asarray(_in_mode(image, "L" if is_grey else "RGB")), None)
    stored = np.asarray(_in_mode(image, "LA" if is_grey else "RGBA"))
    return Channels(stored[..., 0] if is_grey else stored[..., :3], stored[..., -1])


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image converted, or itself where it has the mode; Pillow would copy it."""
    return image if image.mode == mode else image.convert(mode)


def _turn(channels: Channels, orientation: int) -> Channels:
    """Apply the EXIF orientation."""
    colours, alpha = channels
    return Channels(
        apply_orientation(colours, orientation), None if alpha is None else apply_orientation(alpha, orientation)
    )


def _make_picture(pixels: Pixels, alpha: Pixels | None) -> Picture:
    """Drop alpha that is opaque throughout."""
    if alpha is None or alpha.min() == np.iinfo(alpha.dtype).max:
        return Picture(pixels)
    return Picture(fill_transparent(pixels, alpha), alpha)


def _guard(function: Callable[[], Decoded]) -> Decoded:
    """Call a function; what it raises beside our errors becomes a CorruptImage: decoders raise any.

    Raises OutOfResources where the system lacks memory or descriptors.
    """
    try:
        return function()
    except ServiceError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        corrupt = CorruptImage(f"the image cannot be decoded: {reason}; send a complete file")
        raise (OutOfResources.of(error) or corrupt) from error
