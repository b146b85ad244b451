"""Files that move."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Dither, Quantize

from service.photographs.formats import ImageFormat
from service.photographs.pixels import Pixels

CLEAR = 255
"""The entry of a GIF's palettes that is transparent."""

CLEAR_BELOW = 128
"""The alpha under which a GIF's pixel is that."""

HUNDREDTH = 10
"""Milliseconds in which a GIF counts."""

RESTORED_TO_BACKGROUND = 2
"""The disposal of a GIF's frame after which nothing of it is left (GIF89a, section 23)."""

PACKET_BEGIN = b"\x21\xff\x0bXMP DataXMP"
PACKET_END = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
"""Around the XMP of a GIF, which is no sequence of blocks: a reader that skips lands on its last byte."""


@dataclass(frozen=True)
class Timing:
    """For how many milliseconds each frame is shown, and how often all of them, 0 for ever."""

    milliseconds: Sequence[int]
    plays: int


def write_moving(frames: Iterable[Pixels], kind: ImageFormat, timing: Timing, options: dict[str, Any]) -> bytes:
    """The frames, uint8 (H, W, 3) or (H, W, 4), as a file of that format with Pillow's options for it."""
    if kind is ImageFormat.GIF:
        images = [_paletted(frame) for frame in frames]
        ticking = Timing(_in_hundredths(timing.milliseconds), timing.plays)
        return _with_packet(_saved(images, kind, ticking, _of_gif(timing)), options["xmp"])
    return _saved([Image.fromarray(frame) for frame in _alike(frames)], kind, timing, options | {"loop": timing.plays})


def _saved(images: Sequence[Image.Image], kind: ImageFormat, timing: Timing, options: dict[str, Any]) -> bytes:
    first, *others = images
    file = io.BytesIO()
    first.save(file, kind.name, save_all=True, append_images=others, duration=list(timing.milliseconds), **options)
    return file.getvalue()


def _in_hundredths(milliseconds: Sequence[int]) -> list[int]:
    """As a GIF can have them: a frame begins as soon as another one would, or at the next hundredth of a second.

    What a GIF cannot have at all becomes two hundredths, for browsers show less as ten.
    """
    if all(duration % HUNDREDTH == 0 for duration in milliseconds):
        return list(milliseconds)
    begins = [HUNDREDTH * round(total / HUNDREDTH) for total in accumulate(milliseconds, initial=0)]
    return [max(2 * HUNDREDTH, end - begin) for begin, end in pairwise(begins)]


def _with_packet(gif: bytes, xmp: bytes) -> bytes:
    """With an XMP packet before the end, which Pillow does not write (ISO 16684-3)."""
    return b"GIF89a" + gif[6:-1] + PACKET_BEGIN + xmp + PACKET_END + gif[-1:]


def _of_gif(timing: Timing) -> dict[str, Any]:
    """It says how often it is shown again, and nothing where that is never."""
    loop = {} if timing.plays == 1 else {"loop": max(0, timing.plays - 1)}
    return loop | {"disposal": RESTORED_TO_BACKGROUND, "optimize": False}


def _alike(frames: Iterable[Pixels]) -> list[Pixels]:
    """All with alpha where one has it."""
    held = list(frames)
    if all(frame.shape[2] == 3 for frame in held):
        return held
    opaque = ((0, 0), (0, 0), (0, 1))
    return [frame if frame.shape[2] == 4 else np.pad(frame, opaque, constant_values=255) for frame in held]


def _paletted(frame: Pixels) -> Image.Image:
    """In 255 colours of its own, their errors spread among neighbours, and one that is transparent."""
    image = Image.fromarray(np.ascontiguousarray(frame[..., :3]))
    palette = image.quantize(CLEAR, Quantize.MEDIANCUT)
    result = image.quantize(palette=palette, dither=Dither.FLOYDSTEINBERG)
    if frame.shape[2] == 4:
        clear = Image.fromarray(frame[..., 3] < CLEAR_BELOW)
        result.paste(CLEAR, mask=clear)
        result.info["transparency"] = CLEAR
    return result
