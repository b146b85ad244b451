"""The frames of an animated PNG as browsers show them (PNG, third edition, section 13).

Each is decoded as a PNG of its own. Pillow does not put frames together as the standard has it: it draws the first one
on the default image, and mixes the alpha of partly transparent pixels.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from service.errors import CorruptImage
from service.imaging.codecs import png
from service.imaging.codecs.png_rows import require_all_rows
from service.imaging.codecs.sixteen_bit import read_png
from service.imaging.pixels import Pixels, to_8_bits

CONTROL = struct.Struct(">4x4IHHBB")
"""Of fcTL, without its sequence number: width, height, left, top, duration as a fraction, how the frame is disposed of,
and how it is blended (PNG, section 11.3.6.2)."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"

CRC_BYTES = 4
"""At the end of a chunk."""

SEQUENCE_BYTES = 4
"""Of the sequence number that the data of fdAT begin with."""

DISPOSE_TO_BACKGROUND, DISPOSE_TO_PREVIOUS, BLEND_OVER = 1, 2, 1
"""Values of dispose_op and blend_op."""

DEFAULT_DENOMINATOR = 100
"""What a denominator of 0 stands for in a duration."""

CLEAR = (0, 0, 0, 0)

SIZE = struct.Struct(">II")
"""Width and height, which the data of IHDR begin with."""

DEEP = 16
"""Bits a channel that Pillow does not read in every colour type."""


class FrameControl(NamedTuple):
    """Where, how and how long a frame is shown."""

    width: int
    height: int
    left: int
    top: int
    seconds: int
    denominator: int
    disposal: int
    blending: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    @property
    def milliseconds(self) -> float:
        """The duration."""
        return 1000 * self.seconds / (self.denominator or DEFAULT_DENOMINATOR)


@dataclass
class _Frame:
    control: FrameControl
    compressed: list[memoryview] = field(default_factory=list)


class _File(NamedTuple):
    """The chunks of a file: data without what is around them."""

    header: memoryview
    colours: list[tuple[bytes, memoryview]]
    """Palette and transparency, which all frames share."""
    frames: list[_Frame]


def read_first_frame(data: bytes) -> Pixels:
    """Decode the first frame, uint8 (H, W, 4). Raises what `read_frames` does."""
    return next(read_frames(data))[0]


def read_frames(data: bytes) -> Iterator[tuple[Pixels, int]]:
    """Decode the frames of an animation one by one, as they are shown: uint8 (H, W, 4), and milliseconds.

    Raises CorruptImage, and errors of the decoders where pixels are damaged or missing.
    """
    file = _split(png.extract_pixels(data))
    canvas = Image.new("RGBA", SIZE.unpack_from(file.header))
    for frame, milliseconds in zip(file.frames, _round_durations(file.frames), strict=True):
        control = frame.control
        _check_place(control, canvas)
        previous = canvas.copy() if control.disposal == DISPOSE_TO_PREVIOUS else canvas
        _draw(canvas, control, _decode(file, frame))
        yield np.array(canvas), milliseconds
        if control.disposal == DISPOSE_TO_BACKGROUND:
            canvas.paste(CLEAR, control.box)
        canvas = previous


def _split(data: bytes) -> _File:
    file = _File(memoryview(data)[png.SIGNATURE_BYTES + png.HEAD.size :][: png.HEADER_BYTES], [], [])
    for kind, begin, end in png.find_chunks(data):
        body = memoryview(data)[begin + png.HEAD.size : end - CRC_BYTES]
        if kind in (b"PLTE", b"tRNS"):
            file.colours.append((kind, body))
        elif kind == b"fcTL":
            if len(body) != CONTROL.size:
                raise CorruptImage("a frame of the png image has a broken header; save it anew")
            file.frames.append(_Frame(FrameControl(*CONTROL.unpack(body))))
        elif kind == b"IDAT" and file.frames:  # else it is the default image, which is not shown
            file.frames[-1].compressed.append(body)
        elif kind == b"fdAT" and file.frames:
            file.frames[-1].compressed.append(body[SEQUENCE_BYTES:])
    return file


def _round_durations(frames: Sequence[_Frame]) -> list[int]:
    """Whole milliseconds: the start of each frame is rounded, so that errors do not add up."""
    starts = accumulate((frame.control.milliseconds for frame in frames), initial=0.0)
    return [round(end) - round(start) for start, end in pairwise(starts)]


def _check_place(control: FrameControl, canvas: Image.Image) -> None:
    """Decoders make room for a whole frame."""
    if not (control.width and control.height):
        raise CorruptImage("a frame of the png image has no pixels; save it anew")
    if control.box[2] > canvas.width or control.box[3] > canvas.height:
        size = f"{canvas.width}×{canvas.height}"
        raise CorruptImage(f"a frame of the png image is not within its {size} pixels; save it anew")


def _decode(file: _File, frame: _Frame) -> Image.Image:
    header = SIZE.pack(frame.control.width, frame.control.height) + bytes(file.header[SIZE.size :])
    colours = [png.build_chunk(kind, body) for kind, body in file.colours]
    pixels = png.build_chunk(b"IDAT", b"".join(frame.compressed))
    alone = b"".join([SIGNATURE, png.build_chunk(b"IHDR", header), *colours, pixels, png.build_chunk(b"IEND", b"")])
    if png.read_bit_depth(alone) == DEEP:
        return Image.fromarray(to_8_bits(read_png(alone))).convert("RGBA")
    with PngImageFile(io.BytesIO(alone)) as image:
        image.load()
        require_all_rows(image, alone)
        return image.convert("RGBA")


def _draw(canvas: Image.Image, control: FrameControl, pixels: Image.Image) -> None:
    if control.blending == BLEND_OVER:
        pixels = Image.alpha_composite(canvas.crop(control.box), pixels)
    canvas.paste(pixels, control.box)
