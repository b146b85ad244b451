"""The frames of a GIF as browsers show them.

Pillow decompresses the pixels. It does not put the frames together: it paints a background where browsers leave the
page to be seen, and enlarges the screen to frames that overhang it.
"""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL.GifImagePlugin import GifImageFile

from service.errors import CorruptImage, OutOfResources
from service.imaging.codecs.gif import (
    DESCRIPTOR,
    IMAGE,
    INTERLACED,
    SCREEN,
    GifFrame,
    iterate_frames,
    read_layout,
)
from service.imaging.pixels import Pixels

RESTORE_TO_BACKGROUND, RESTORE_TO_PREVIOUS = 2, (3, 4)
"""Disposal methods (GIF89a, section 23): a frame is cleared, or what it covers comes back. Some programs write the
latter as 4, and browsers understand it."""

COLOURS, OPAQUE = 256, 255

Canvas = NDArray[np.uint32]
"""Pixels, or colours, whose four bytes are red, green, blue and alpha."""


def read_first_frame(data: bytes) -> Pixels:
    """Decode the first frame of a GIF, uint8 (H, W, 4). Raises what `read_frames` does."""
    return next(read_frames(data))[0]


def read_frames(data: bytes) -> Iterator[tuple[Pixels, int]]:
    """Decode the frames one by one, as they are shown: uint8 (H, W, 4), and milliseconds.

    Raises CorruptImage, and Pillow's errors where pixels are damaged or missing.
    """
    layout = read_layout(data)
    canvas = np.zeros((layout.height, layout.width), np.uint32)
    for frame in iterate_frames(data):
        previous = canvas.copy() if frame.control.disposal in RESTORE_TO_PREVIOUS else canvas
        drawn = _draw(data, frame, canvas)
        yield canvas.copy()[..., None].view(np.uint8), frame.control.milliseconds
        if frame.control.disposal == RESTORE_TO_BACKGROUND:
            drawn[...] = 0
        canvas = previous


def _draw(data: bytes, frame: GifFrame, canvas: Canvas) -> Canvas:
    """Draw what lies on the canvas of a frame; return that part of the canvas."""
    covered = canvas[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    height, width = covered.shape[:2]
    if height and width:
        indices = _decompress(data, frame, frame.count_rows(len(canvas)))[:height, :width]
        transparent = frame.control.transparent_index
        visible = True if transparent is None else indices != transparent
        np.copyto(covered, _read_colours(frame).take(indices), where=visible)
    return covered


def _decompress(data: bytes, frame: GifFrame, rows: int) -> Pixels:
    """The first rows of a frame, (rows, W): a file with this frame alone is greyscale to Pillow."""
    alone = b"".join(
        [
            b"GIF89a" + SCREEN.pack(frame.width, rows, 0)[6:],
            bytes([IMAGE]) + DESCRIPTOR.pack(0, 0, frame.width, rows, INTERLACED if frame.interlaced else 0),
            data[frame.compressed],
        ]
    )
    try:
        with GifImageFile(io.BytesIO(alone)) as image:
            image.load()
            return np.asarray(image)
    except (SyntaxError, OSError) as error:  # what Pillow says where data end
        if frame.compressed.stop < len(data):
            raise
        missing = CorruptImage("the gif image ends before its last pixels; send a complete file")
        raise (OutOfResources.of(error) or missing) from error


def _read_colours(frame: GifFrame) -> Canvas:
    """The colour table with alpha, (256,): what it lacks is black."""
    colours = np.full((COLOURS, 4), OPAQUE, np.uint8)
    table = frame.colour_table[: 3 * COLOURS].ljust(3 * COLOURS, b"\0")
    colours[:, :3] = np.frombuffer(table, np.uint8).reshape(COLOURS, 3)
    return colours.view(np.uint32)[:, 0]
