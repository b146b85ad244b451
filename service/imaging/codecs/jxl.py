"""JPEG XL files (ISO/IEC 18181): the header, read before anything is decoded, and what libjxl makes of the pixels."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import imagecodecs
import numpy as np

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.cicp import CURVES, HDR_TRANSFERS, PRIMARIES, SRGB_CODE, CodePoints, declare_code_points
from service.imaging.codecs.colour import srgb_profile
from service.imaging.codecs.exif import TRANSPOSING_ORIENTATIONS
from service.imaging.codecs.formats import readable_types
from service.imaging.codecs.hdr import HdrColours
from service.imaging.codecs.icc import Primaries, build_grey_profile, build_rgb_profile
from service.imaging.codecs.libjxl import decode_as_srgb, read_icc_profile
from service.imaging.pixels import Pixels, row_bands

CODESTREAM = b"\xff\x0a"
HEADER_BYTES = 4096
"""More than the header of a codestream has with MAX_EXTRA_CHANNELS."""

MAX_BOXES = 1024
MAX_METADATA_BYTES = 2**24
"""Of one box after it is decompressed."""

MAX_EXTRA_CHANNELS = 2

BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)

RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width over height by the code of a size (18181-1, table D.1)."""

Choices = tuple[tuple[int, int], ...]
"""What the two bits before a number choose: its least value, and the bits that are added to it."""

SIDE: Choices = ((1, 9), (1, 13), (1, 18), (1, 30))
ENUM: Choices = ((0, 0), (1, 0), (2, 4), (18, 6))
INTEGER_BITS: Choices = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_BITS: Choices = ((32, 0), (16, 0), (24, 0), (1, 6))
COUNT: Choices = ((0, 0), (1, 0), (2, 4), (1, 12))
DIM_SHIFT: Choices = ((0, 0), (3, 0), (4, 0), (1, 3))
NAME_LENGTH: Choices = ((0, 0), (0, 4), (16, 5), (48, 10))
CHROMATICITY: Choices = ((0, 19), (2**19, 19), (2**20, 20), (2**21, 21))
PREVIEW_EIGHTHS: Choices = ((16, 0), (32, 0), (1, 5), (33, 9))
PREVIEW_SIDE: Choices = ((1, 6), (65, 8), (321, 10), (1345, 12))

ALPHA = 0
"""The type of an extra channel (table D.6)."""


class ColourModel(IntEnum):
    """The colour space of a file (table D.9)."""

    RGB = 0
    GREY = 1
    XYB = 2
    UNKNOWN = 3


@dataclass(frozen=True)
class Colours:
    """How a file declares its colours."""

    model: ColourModel = ColourModel.RGB
    has_icc: bool = False
    """Whether they are those of an ICC profile, which is compressed in the codestream."""
    primaries: Primaries = PRIMARIES[SRGB_CODE[0]]
    code: int = SRGB_CODE[0]
    """Of the primaries (H.273); 2 where they have none."""
    transfer: int = SRGB_CODE[1]
    gamma: float | None = None
    """In place of the transfer."""


@dataclass(frozen=True)
class CodestreamHeader:
    """The beginning of a codestream."""

    width: int
    height: int
    """As stored, before orientation."""
    orientation: int = 1
    animated: bool = False
    bits: int = 8
    floating: bool = False
    extra_channels: tuple["ExtraChannel", ...] = ()
    xyb: bool = True
    """Whether colours are stored as the eye sees them, which loses some; else exactly as they were."""
    colours: Colours = field(default_factory=Colours)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width."""
        size = self.height, self.width
        return size[::-1] if self.orientation in TRANSPOSING_ORIENTATIONS else size

    @property
    def is_grey(self) -> bool:
        """Whether colours have a single channel."""
        return self.colours.model is ColourModel.GREY

    @property
    def has_alpha(self) -> bool:
        """Whether pixels can be transparent."""
        return any(channel.kind == ALPHA for channel in self.extra_channels)


@dataclass(frozen=True)
class ExtraChannel:
    """A channel besides colour."""

    kind: int = ALPHA
    bits: int = 8
    premultiplied: bool = False


@dataclass(frozen=True)
class JxlFile:
    """What is known of a file before it is decoded."""

    header: CodestreamHeader
    exif: bytes | None
    xmp: bytes | None
    is_jpeg: bool
    """Whether it is a JPEG, which can be had back to the byte."""

    @property
    def is_lossless(self) -> bool:
        """Whether it stores values exactly that were never in a JPEG."""
        return not (self.header.xyb or self.is_jpeg)


def read_file(data: bytes) -> JxlFile:
    """Read everything but the pixels. Raises CorruptImage; UnsupportedImage for animations and unusual pixels."""
    boxes = list(_boxes(data))
    begin = b"".join(_codestream(data, boxes))
    header = _read_header(begin)
    _check_supported(header)
    return JxlFile(
        header,
        _read_metadata(boxes, b"Exif"),
        _read_metadata(boxes, b"xml "),
        any(name == b"jbrd" for name, _ in boxes),
    )


def read_pixels(data: bytes) -> Pixels:
    """Decode the pixels upright: (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), uint8 or, of more than 8 bits, uint16.

    Raises CorruptImage where they are not what the header says, and whatever the decoder raises.
    """
    header = read_file(data).header
    channels = (1 if header.is_grey else 3) + header.has_alpha
    expected = header.upright_size if channels == 1 else (*header.upright_size, channels)
    dtype = np.uint8 if header.bits <= 8 else np.uint16
    if header.xyb and header.colours.has_icc:
        pixels = np.empty(expected, dtype)
        decode_as_srgb(data, pixels, grey=header.is_grey)
    else:
        pixels = np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))
        if pixels.shape != expected or pixels.dtype != dtype:
            raise _corrupt("its pixels are not those of its header")
        _scale_to_type(pixels, header.bits)
    if any(channel.premultiplied for channel in header.extra_channels):
        _straighten_alpha(pixels)
    return pixels


def read_colours(data: bytes, header: CodestreamHeader) -> bytes | HdrColours | None:
    """The profile of the decoded pixels, or what to map to SDR; None where they are in sRGB.

    libjxl gives XYB in the space that the file declares; `read_pixels` has it in sRGB where that is an ICC profile.
    """
    colours = header.colours
    if colours.has_icc:
        return srgb_profile() if header.xyb else read_icc_profile(data)
    if colours.model in (ColourModel.XYB, ColourModel.UNKNOWN):
        return None
    if colours.gamma is None and colours.transfer in HDR_TRANSFERS:
        return HdrColours(HDR_TRANSFERS[colours.transfer], colours.primaries)
    codes = CodePoints(colours.code, colours.transfer)
    if colours.gamma is None and codes.is_known:
        return declare_code_points(codes, is_grey=header.is_grey, video_curve=BT709_CURVE)
    curve = (1 / colours.gamma,) if colours.gamma else CURVES.get(colours.transfer, CURVES[SRGB_CODE[1]])
    if header.is_grey:
        return build_grey_profile("JPEG XL", curve)
    try:
        return build_rgb_profile("JPEG XL", colours.primaries, curve)
    except ValueError as error:
        raise _corrupt("its primaries make no colours") from error


def _boxes(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Names and contents of the boxes of a container (18181-2); of a bare codestream none."""
    if data.startswith(CODESTREAM):
        return
    view, place, count = memoryview(data), 0, 0
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        begin = place + 8
        if length == 1:
            length, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
        end = place + length if length else len(data)
        count += 1
        if end < begin or count > MAX_BOXES:
            raise _corrupt("its boxes make no sense")
        yield name, view[begin:end]
        place = end


def _codestream(data: bytes, boxes: list[tuple[bytes, memoryview]]) -> Iterator[bytes]:
    """The beginning of the codestream, in one box, or in several that begin with their number."""
    if data.startswith(CODESTREAM):
        yield data[:HEADER_BYTES]
    for name, content in boxes:
        if name in (b"jxlc", b"jxlp"):
            yield bytes(content[0 if name == b"jxlc" else 4 :][:HEADER_BYTES])


def _read_metadata(boxes: list[tuple[bytes, memoryview]], wanted: bytes) -> bytes | None:
    """EXIF, which follows the offset of its beginning, or XMP; plain or compressed by Brotli. None where broken."""
    for name, content in boxes:
        found = bytes(content) if name == wanted else None
        if name == b"brob" and bytes(content[:4]) == wanted:
            found = _unbrotli(bytes(content[4:]))
        if found is None:
            continue
        return found[4 + int.from_bytes(found[:4], "big") :] if wanted == b"Exif" else found
    return None


def _unbrotli(data: bytes) -> bytes | None:
    try:
        return bytes(imagecodecs.brotli_decode(data, out=MAX_METADATA_BYTES))
    except (imagecodecs.BrotliError, ValueError, RuntimeError):
        return None


def _check_supported(header: CodestreamHeader) -> None:
    if header.animated:
        raise _unsupported("animated JPEG XL", "send one frame, or an animated GIF, WebP or PNG")
    if header.floating or header.bits > 16:
        raise _unsupported("a JPEG XL of floating point, or of more than 16 bits a channel,")
    kinds = [channel.kind for channel in header.extra_channels]
    if kinds not in ([], [ALPHA]):
        raise _unsupported("a JPEG XL with other channels than colours and alpha")
    if any(channel.bits != header.bits for channel in header.extra_channels):
        raise _unsupported("a JPEG XL whose alpha has other bits than its colours")


def _scale_to_type(pixels: Pixels, bits: int) -> None:
    """Scale values of `bits` bits to all those of their type, in place."""
    full, most = np.iinfo(pixels.dtype).max, 2**bits - 1
    if most == full:
        return
    for rows in row_bands(len(pixels), pixels[0].size):
        pixels[rows] = (pixels[rows].astype(np.uint32) * (2 * full) + most) // (2 * most)


def _straighten_alpha(pixels: Pixels) -> None:
    """Divide colours by the last channel, in place."""
    full = np.iinfo(pixels.dtype).max
    for rows in row_bands(len(pixels), pixels[0].size):
        alpha = pixels[rows][..., -1:].astype(np.float32)
        straight = pixels[rows][..., :-1] * (full / np.maximum(alpha, 1))
        pixels[rows][..., :-1] = np.rint(np.minimum(straight, full))


class _Bits:
    """Reads bits, the lowest of each byte first. Raises CorruptImage at their end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next number, of `count` bits."""
        self._left -= count
        if self._left < 0:
            raise _corrupt("its header ends too early")
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        return number

    def flag(self) -> bool:
        """The next bit."""
        return bool(self.take(1))

    def number(self, choices: Choices) -> int:
        """A number whose range the next two bits choose."""
        least, count = choices[self.take(2)]
        return least + self.take(count)


def _read_header(data: bytes) -> CodestreamHeader:
    """18181-1, annex D."""
    if not data.startswith(CODESTREAM):
        raise _corrupt("it has no codestream")
    bits = _Bits(data[2 : 2 + HEADER_BYTES])
    width, height = _read_size(bits)
    if bits.flag():
        return CodestreamHeader(width, height)
    orientation, animated = _read_extra_fields(bits) if bits.flag() else (1, False)
    depth, floating = _read_bit_depth(bits)
    bits.flag()  # whether 16 bits suffice for the decoder
    count = bits.number(COUNT)
    if count > MAX_EXTRA_CHANNELS:
        raise _unsupported("a JPEG XL with other channels than colours and alpha")
    extra = tuple(_read_extra_channel(bits) for _ in range(count))
    xyb = bits.flag()
    return CodestreamHeader(width, height, orientation, animated, depth, floating, extra, xyb, _read_colours(bits))


def _read_size(bits: _Bits) -> tuple[int, int]:
    in_eighths = bits.flag()

    def side() -> int:
        return 8 * (1 + bits.take(5)) if in_eighths else bits.number(SIDE)

    return _read_width(bits, side(), side)


def _read_width(bits: _Bits, height: int, side: Callable[[], int]) -> tuple[int, int]:
    """Width and height; the width by a ratio, or by itself."""
    ratio = bits.take(3)
    numerator, denominator = RATIOS[ratio]
    return (height * numerator // denominator if ratio else side()), height


def _read_extra_fields(bits: _Bits) -> tuple[int, bool]:
    """The orientation, and whether it is an animation."""
    orientation = 1 + bits.take(3)
    if bits.flag():
        _read_size(bits)  # at which it is meant to be shown
    if bits.flag():
        _skip_preview_size(bits)
    animated = bits.flag()
    if animated:
        for choices in (
            ((100, 0), (1000, 0), (1, 10), (1, 30)),
            ((1, 0), (1001, 0), (1, 8), (1, 10)),
            ((0, 0), (0, 3), (0, 16), (0, 32)),
        ):
            bits.number(choices)
        bits.flag()
    return orientation, animated


def _skip_preview_size(bits: _Bits) -> None:
    choices = PREVIEW_EIGHTHS if bits.flag() else PREVIEW_SIDE
    _read_width(bits, bits.number(choices), lambda: bits.number(choices))


def _read_bit_depth(bits: _Bits) -> tuple[int, bool]:
    floating = bits.flag()
    count = bits.number(FLOAT_BITS if floating else INTEGER_BITS)
    if floating:
        bits.take(4)  # of the exponent
    return count, floating


def _read_extra_channel(bits: _Bits) -> ExtraChannel:
    if bits.flag():
        return ExtraChannel()
    kind = bits.number(ENUM)
    depth, floating = _read_bit_depth(bits)
    bits.number(DIM_SHIFT)
    for _ in range(bits.number(NAME_LENGTH)):
        bits.take(8)
    if kind != ALPHA or floating:
        raise _unsupported("a JPEG XL with other channels than colours and alpha")
    return ExtraChannel(kind, depth, premultiplied=bits.flag())


def _read_colours(bits: _Bits) -> Colours:
    if bits.flag():
        return Colours()
    has_icc = bits.flag()
    code = bits.number(ENUM)
    model = ColourModel(code) if code in set(ColourModel) else ColourModel.UNKNOWN
    if has_icc or model is ColourModel.XYB:
        return Colours(model, has_icc)
    white = _read_white(bits)
    primaries, number = _read_primaries(bits, white) if model is not ColourModel.GREY else (None, SRGB_CODE[0])
    gamma = bits.take(24) / 10**7 if bits.flag() else None
    transfer = bits.number(ENUM) if gamma is None else 0
    return Colours(model, False, primaries or PRIMARIES[SRGB_CODE[0]], number, transfer, gamma or None)


def _read_white(bits: _Bits) -> tuple[float, float]:
    """The white point (table D.10): D65, one of its own, E, or that of DCI."""
    code = bits.number(ENUM)
    if code == 2:
        return _read_chromaticity(bits)
    return {10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}.get(code, PRIMARIES[1].white)


def _read_primaries(bits: _Bits, white: tuple[float, float]) -> tuple[Primaries, int]:
    """The primaries (table D.11), and their code: those of sRGB, of their own, BT.2100 or P3."""
    code = bits.number(ENUM)
    if code == 2:
        red, green, blue = (_read_chromaticity(bits) for _ in range(3))
        return Primaries(red, green, blue, white), 2
    primaries = PRIMARIES.get(code, PRIMARIES[1])._replace(white=white)
    return primaries, next((number for number, known in PRIMARIES.items() if known == primaries), 2)


def _read_chromaticity(bits: _Bits) -> tuple[float, float]:
    def coordinate() -> float:
        number = bits.number(CHROMATICITY)
        return (number >> 1 if number % 2 == 0 else -(number + 1 >> 1)) / 10**6

    return coordinate(), coordinate()


def _corrupt(what: str) -> CorruptImage:
    return CorruptImage(f"the jxl image is broken: {what}; send a complete file")


def _unsupported(what: str, remedy: str = "send it as a PNG or JPEG") -> UnsupportedImage:
    return UnsupportedImage(f"{what} is not accepted; {remedy}", accepted=readable_types())
