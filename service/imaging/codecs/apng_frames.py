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
from service.imaging.pixels import Pixels, row_bands

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

CHANNELS = 4
"""Red, green, blue and alpha, which frames of every colour type become."""

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
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

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
    """Decode the first frame, (H, W, 4). Raises what `read_frames` does."""
    return next(read_frames(data))[0]


def read_frames(data: bytes) -> Iterator[tuple[Pixels, int]]:
    """Decode the frames of an animation one by one, as they are shown: (H, W, 4) of the file's depth, and milliseconds.

    Raises CorruptImage, and errors of the decoders where pixels are damaged or missing.
    """
    file = _split(png.extract_pixels(data))
    width, height = SIZE.unpack_from(file.header)
    canvas = np.zeros((height, width, CHANNELS), np.uint16 if png.read_bit_depth(data) == DEEP else np.uint8)
    for frame, milliseconds in zip(file.frames, _round_durations(file.frames), strict=True):
        control = frame.control
        _check_place(control, canvas)
        previous = canvas.copy() if control.disposal == DISPOSE_TO_PREVIOUS else canvas
        _draw(canvas[control.place], _decode(file, frame), control.blending)
        yield canvas.copy(), milliseconds
        if control.disposal == DISPOSE_TO_BACKGROUND:
            canvas[control.place] = 0
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


def _check_place(control: FrameControl, canvas: Pixels) -> None:
    """Decoders make room for a whole frame."""
    if not (control.width and control.height):
        raise CorruptImage("a frame of the png image has no pixels; save it anew")
    height, width = canvas.shape[:2]
    rows, columns = control.place
    if columns.stop > width or rows.stop > height:
        size = f"{width}×{height}"
        raise CorruptImage(f"a frame of the png image is not within its {size} pixels; save it anew")


def _decode(file: _File, frame: _Frame) -> Pixels:
    """The pixels of a frame alone, (H, W, 4)."""
    header = SIZE.pack(frame.control.width, frame.control.height) + bytes(file.header[SIZE.size :])
    colours = [png.build_chunk(kind, body) for kind, body in file.colours]
    pixels = png.build_chunk(b"IDAT", b"".join(frame.compressed))
    alone = b"".join([SIGNATURE, png.build_chunk(b"IHDR", header), *colours, pixels, png.build_chunk(b"IEND", b"")])
    if png.read_bit_depth(alone) == DEEP:
        return _to_rgba(read_png(alone))
    with PngImageFile(io.BytesIO(alone)) as image:
        image.load()
        require_all_rows(image, alone)
        return np.asarray(image.convert("RGBA"))


def _to_rgba(pixels: Pixels) -> Pixels:
    """(H, W, 4) of grey or RGB, with or without alpha."""
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    colours, alpha = np.split(planes, [planes.shape[2] - 1 + planes.shape[2] % 2], axis=2)
    opaque = np.full((*planes.shape[:2], 1), np.iinfo(planes.dtype).max, planes.dtype)
    return np.dstack([np.broadcast_to(colours, (*planes.shape[:2], 3)), alpha if alpha.size else opaque])


def _draw(place: Pixels, pixels: Pixels, blending: int) -> None:
    """Draw a frame on its place of the canvas."""
    if blending != BLEND_OVER:
        place[:] = pixels
    elif place.dtype == np.uint8:
        below = Image.fromarray(np.ascontiguousarray(place))
        place[:] = np.asarray(Image.alpha_composite(below, Image.fromarray(pixels)))
    else:
        for rows in row_bands(len(place), place[0].size):
            place[rows] = _composite(place[rows], pixels[rows])


def _composite(below: Pixels, above: Pixels) -> Pixels:
    """Straight alpha, uint16, which Pillow cannot (PNG, section 13.16)."""
    most = np.iinfo(above.dtype).max
    below_alpha, above_alpha = below[..., 3:] / most, above[..., 3:] / most
    shown = below_alpha * (1 - above_alpha)
    alpha = above_alpha + shown
    colours = (above[..., :3] * above_alpha + below[..., :3] * shown) / np.where(alpha > 0, alpha, 1)
    result: Pixels = np.rint(np.dstack([colours, alpha * most])).astype(above.dtype)
    return result
