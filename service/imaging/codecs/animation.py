"""Writes animations, and GIFs of one frame."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Dither, Quantize

from service.imaging.codecs.formats import ImageFormat
from service.imaging.pixels import Pixels

TRANSPARENT_INDEX = 255
"""The palette entry of a GIF that is transparent."""

ALPHA_THRESHOLD = 128
"""The alpha below which a pixel of a GIF is transparent."""

GIF_TICK = 10
"""Milliseconds: the unit of durations in a GIF (GIF89a, section 23)."""

RESTORE_TO_BACKGROUND = 2
"""The disposal method that clears a frame before the next one is drawn (GIF89a, section 23)."""

XMP_BLOCK_BEGIN = b"\x21\xff\x0bXMP DataXMP"
XMP_BLOCK_END = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
"""The application extension around the XMP of a GIF. The packet is not cut into sub-blocks; wherever a reader that
skips sub-blocks lands in the trailing bytes, it is led to the last one (ISO 16684-3)."""


@dataclass(frozen=True)
class Timing:
    """The duration of each frame, and how often the animation is played; 0 is for ever."""

    milliseconds: Sequence[int]
    loop_count: int


def write_animation(frames: Iterable[Pixels], kind: ImageFormat, timing: Timing, options: dict[str, Any]) -> bytes:
    """Encode frames, uint8 (H, W, 3) or (H, W, 4), with Pillow's options for the format."""
    if kind is ImageFormat.GIF:
        return _write_gif(frames, timing, options["xmp"])
    images = [Image.fromarray(frame) for frame in _match_channels(frames)]
    return _save(images, kind, timing, options | {"loop": timing.loop_count})


def _write_gif(frames: Iterable[Pixels], timing: Timing, xmp: bytes) -> bytes:
    """Of the options only the XMP applies: a GIF has no quality, profile or EXIF."""
    images = [_quantize(frame) for frame in frames]
    rounded = Timing(_round_to_ticks(timing.milliseconds), timing.loop_count)
    return _insert_xmp(_save(images, ImageFormat.GIF, rounded, _gif_options(timing.loop_count)), xmp)


def _save(images: Sequence[Image.Image], kind: ImageFormat, timing: Timing, options: dict[str, Any]) -> bytes:
    first, *others = images
    file = io.BytesIO()
    first.save(file, kind.name, save_all=True, append_images=others, duration=list(timing.milliseconds), **options)
    return file.getvalue()


def _round_to_ticks(milliseconds: Sequence[int]) -> list[int]:
    """Round the start of each frame, not its duration, so that errors do not add up.

    No frame that is rounded gets less than two ticks, as browsers show shorter ones for ten.
    """
    if all(duration % GIF_TICK == 0 for duration in milliseconds):
        return list(milliseconds)
    starts = [GIF_TICK * round(total / GIF_TICK) for total in accumulate(milliseconds, initial=0)]
    return [max(2 * GIF_TICK, end - start) for start, end in pairwise(starts)]


def _insert_xmp(gif: bytes, xmp: bytes) -> bytes:
    """Insert an XMP packet before the trailer, as Pillow writes none (ISO 16684-3)."""
    return b"GIF89a" + gif[6:-1] + XMP_BLOCK_BEGIN + xmp + XMP_BLOCK_END + gif[-1:]


def _gif_options(loop_count: int) -> dict[str, Any]:
    """A GIF stores the number of repetitions: nothing where it is played once."""
    loop = {} if loop_count == 1 else {"loop": max(0, loop_count - 1)}
    return loop | {"disposal": RESTORE_TO_BACKGROUND, "optimize": False}


def _match_channels(frames: Iterable[Pixels]) -> list[Pixels]:
    """Add an opaque alpha channel to all frames where any of them has alpha."""
    held = list(frames)
    if all(frame.shape[2] == 3 for frame in held):
        return held
    opaque = ((0, 0), (0, 0), (0, 1))
    return [frame if frame.shape[2] == 4 else np.pad(frame, opaque, constant_values=255) for frame in held]


def _quantize(frame: Pixels) -> Image.Image:
    """Reduce a frame to a palette of 255 colours of its own, dithered, and one transparent entry."""
    image = Image.fromarray(np.ascontiguousarray(frame[..., :3]))
    palette = image.quantize(TRANSPARENT_INDEX, Quantize.MEDIANCUT)
    result = image.quantize(palette=palette, dither=Dither.FLOYDSTEINBERG)
    if frame.shape[2] == 4:
        result.paste(TRANSPARENT_INDEX, mask=Image.fromarray(frame[..., 3] < ALPHA_THRESHOLD))
        result.info["transparency"] = TRANSPARENT_INDEX
    return result
