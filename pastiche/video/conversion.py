"""Converts a video: frames through a model, segment by segment, then joined with the sound."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pastiche.model import Model
from pastiche.pictures import Array
from pastiche.video.encoder import SEGMENT_FRAMES, Painted, write_segment
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.flicker import Flicker
from pastiche.video.joining import join, require_container
from pastiche.video.journal import Journal
from pastiche.video.source import Frame, open_video
from service.imaging.pixels import to_8_bits

PIXELS_AT_ONCE = 16_000_000
"""Output pixels of the frames that are in the model at the same time; at least one frame is."""

MOST_AT_ONCE = 8


@dataclass(frozen=True)
class Converted:
    """A video that was written."""

    frames: int
    left_out: Sequence[str]
    """Streams that its container cannot hold."""
    flicker: Flicker
    """Of the frames that were made this time."""


def convert(
    source: Path,
    target: Path,
    model: Model,
    options: Mapping[str, Any],
    encoder: EncoderOptions,
    progress: Callable[[int, int | None], None] = lambda _done, _all: None,
) -> Converted:
    """Make `target` of `source`, each frame by `model` with these options. It appears when it is complete.

    What was done is kept beside it in `.NAME.part`, from where the same call goes on after it was ended. `progress`
    hears how many frames are done, and of how many. Raises VideoError, ServiceError or OSError.
    """
    with open_video(source) as video:
        require_container(target, encoder.codec, video.copied_streams)
        journal = Journal.open(target, _made_of(source, model, options, encoder))
        flicker = Flicker()
        progress(journal.frames, video.frame_count)
        frames = video.frames(journal.frames)
        for first in frames:
            part = chain([first], islice(frames, SEGMENT_FRAMES - 1))
            path = journal.path(len(journal.segments))
            painted = _counted(_paint(part, model, options, flicker), journal.frames, video.frame_count, progress)
            journal.add(write_segment(path, painted, video.timing, encoder))
    whole = journal.folder / f"whole{target.suffix}"
    left_out = join(source, journal, video.timing.time_base, whole)
    whole.replace(target)
    journal.remove()
    return Converted(journal.frames, left_out, flicker)


def _made_of(source: Path, model: Model, options: Mapping[str, Any], encoder: EncoderOptions) -> dict[str, str]:
    """Everything that decides on the frames of the result."""
    state = source.stat()
    return {
        "source": f"{source.resolve()} {state.st_size} {state.st_mtime_ns}",
        "model": f"{model.name} {', '.join(model.versions)}",
        "options": repr(sorted(options.items())),
        "encoder": repr(encoder),
    }


def _paint(frames: Iterator[Frame], model: Model, options: Mapping[str, Any], flicker: Flicker) -> Iterator[Painted]:
    """The results, of which few are in memory at a time."""
    room = 1
    while group := list(islice(frames, room)):
        results: list[Array] = model([frame.pixels for frame in group], **options)
        for frame, result in zip(group, results, strict=True):
            flicker.add(to_8_bits(frame.pixels), to_8_bits(result))
            yield Painted(result, frame.pts, frame.duration, frame.pixel_aspect, frame.colours)
        height, width = results[0].shape[:2]
        room = max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // (height * width)))


def _counted(
    frames: Iterator[Painted], done: int, every: int | None, progress: Callable[[int, int | None], None]
) -> Iterator[Painted]:
    for number, frame in enumerate(frames, done + 1):
        yield frame
        progress(number, every)
