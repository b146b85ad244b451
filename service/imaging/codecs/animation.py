"""Writes animations, and GIFs of one frame."""

import io
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Dither, Quantize

from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.gif import EXTENSION, XMP_HEAD, XMP_TRAILER
from service.imaging.codecs.timing import MAX_GIF_DURATION, Timing
from service.imaging.pixels import Pixels

TRANSPARENT_INDEX = 255
"""The palette entry of a GIF that is transparent."""

ALPHA_THRESHOLD = 128
"""The alpha below which a pixel of a GIF is transparent."""

RESTORE_TO_BACKGROUND = 2
"""The disposal method that clears a frame before the next one is drawn (GIF89a, section 23)."""


def write_animation(frames: Iterable[Pixels], kind: ImageFormat, timing: Timing, options: dict[str, Any]) -> bytes:
    """Encode frames, uint8 (H, W, 3) or (H, W, 4), with Pillow's options for the format.

    What of the timing the format cannot hold is rounded or shortened.
    """
    fitted = timing.fit(kind)
    if kind is ImageFormat.GIF:
        return _write_gif(frames, fitted, options["xmp"])
    images = [Image.fromarray(frame) for frame in _match_channels(frames)]
    return _save(images, kind, fitted.milliseconds, options | {"loop": fitted.loop_count})


def _write_gif(frames: Iterable[Pixels], timing: Timing, xmp: bytes) -> bytes:
    """Of the options only the XMP applies: a GIF has no quality, profile or EXIF."""
    images = [_quantize(frame) for frame in frames]
    milliseconds = _limit_equal_frames(images, timing.milliseconds)
    return _insert_xmp(_save(images, ImageFormat.GIF, milliseconds, _gif_options(timing.loop_count)), xmp)


def _save(
    images: Sequence[Image.Image], kind: ImageFormat, milliseconds: Sequence[int], options: dict[str, Any]
) -> bytes:
    first, *others = images
    file = io.BytesIO()
    first.save(file, kind.name, save_all=True, append_images=others, duration=list(milliseconds), **options)
    return file.getvalue()


def _limit_equal_frames(images: Sequence[Image.Image], milliseconds: Sequence[int]) -> list[int]:
    """Shorten equal frames in a row to what one can hold: Pillow writes them as one frame that has their sum."""
    if sum(milliseconds) <= MAX_GIF_DURATION:
        return list(milliseconds)
    result, together = [milliseconds[0]], milliseconds[0]
    for (previous, image), duration in zip(pairwise(images), milliseconds[1:], strict=True):
        together = together if _look_alike(previous, image) else 0
        result.append(min(duration, MAX_GIF_DURATION - together))
        together += result[-1]
    return result


def _look_alike(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one.convert("RGBA")), np.asarray(other.convert("RGBA")))


def _insert_xmp(gif: bytes, xmp: bytes) -> bytes:
    """Insert an XMP packet before the trailer, as Pillow writes none (ISO 16684-3)."""
    return b"GIF89a" + gif[6:-1] + bytes([EXTENSION]) + XMP_HEAD + xmp + XMP_TRAILER + gif[-1:]


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
    """Reduce a frame to a palette of 255 colours of its own, dithered, and one transparent entry.

    A palette has that entry also where the frame has fewer colours: not every program takes one that is not there.
    """
    image = Image.fromarray(np.ascontiguousarray(frame[..., :3]))
    palette = image.quantize(TRANSPARENT_INDEX, Quantize.MEDIANCUT)
    result = image.quantize(palette=palette, dither=Dither.FLOYDSTEINBERG)
    if frame.shape[2] == 4:
        result.putpalette(bytes(result.getpalette() or []).ljust(3 * (TRANSPARENT_INDEX + 1), b"\0"))
        result.paste(TRANSPARENT_INDEX, mask=Image.fromarray(frame[..., 3] < ALPHA_THRESHOLD))
        result.info["transparency"] = TRANSPARENT_INDEX
    return result
