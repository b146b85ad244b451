"""Frames through a model."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pastiche.model import Model
from pastiche.pictures import Array
from pastiche.video.encoder import Painted
from pastiche.video.flicker import Flicker
from pastiche.video.source import Frame
from service.imaging.pixels import to_8_bits

PIXELS_AT_ONCE = 16_000_000
"""Output pixels of the frames that are in the model at the same time; at least one frame is."""

MOST_AT_ONCE = 8


def paint(frames: Iterator[Frame], model: Model, options: Mapping[str, Any], flicker: Flicker) -> Iterator[Painted]:
    """The results, of which few are in memory at a time. Raises ServiceError."""
    room = 1
    while group := list(islice(frames, room)):
        results: list[Array] = model([frame.pixels for frame in group], **options)
        for frame, result in zip(group, results, strict=True):
            flicker.add(to_8_bits(frame.pixels), to_8_bits(result))
            yield Painted(result, frame.pts, frame.duration, frame.pixel_aspect, frame.colours)
        height, width = results[0].shape[:2]
        room = max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // (height * width)))
