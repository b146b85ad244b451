"""Converts a video: frames through a model, segment by segment, then joined with the sound."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from model_store.durable import move_file
from pastiche.model import Model
from pastiche.pictures import read_source
from pastiche.video.encoder import SEGMENT_FRAMES, Painted, write_segment
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.flicker import Flicker
from pastiche.video.joining import join, require_container
from pastiche.video.journal import Journal
from pastiche.video.painting import paint
from pastiche.video.source import VideoSource, open_video
from pastiche.video.trial import try_first_frame


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
    notice: Callable[[str], None] = lambda _: None,
) -> Converted:
    """Make `target` of `source`, each frame by `model` with these options. It appears when it is complete.

    What was done is kept beside it in `.NAME.part`, from where the same call goes on after it was ended. `progress`
    hears how many frames are done, and of how many; `notice`, why frames that were done before are done again.
    Raises VideoError, ServiceError or OSError.
    """
    with open_video(source) as video:
        require_container(target, encoder.codec, video.copied_streams)
    try_first_frame(source, model, options, encoder)
    with Journal.open(target, _made_of(source, model, options, encoder)) as journal:
        if journal.lost:
            notice(journal.lost)
        with open_video(source) as video:
            flicker = _add_segments(journal, video, model, options, encoder, progress)
        whole = journal.folder / f"whole{target.suffix}"
        left_out = join(source, journal, video.timing.time_base, whole)
        move_file(whole, target)
        journal.remove()
        return Converted(journal.frames, left_out, flicker)


def _add_segments(
    journal: Journal,
    video: VideoSource,
    model: Model,
    options: Mapping[str, Any],
    encoder: EncoderOptions,
    progress: Callable[[int, int | None], None],
) -> Flicker:
    """Those that are missing; returns the flicker of their frames."""
    progress(journal.frames, video.frame_count)
    flicker, frames = Flicker(), video.frames(journal.frames)
    for first in frames:
        part = chain([first], islice(frames, SEGMENT_FRAMES - 1))
        painted = _counted(paint(part, model, options, flicker), journal.frames, video.frame_count, progress)
        journal.add(write_segment(journal.new_path, painted, video.timing, encoder))
    return flicker


def _made_of(source: Path, model: Model, options: Mapping[str, Any], encoder: EncoderOptions) -> dict[str, str]:
    """Everything that decides on the frames of the result."""
    state = source.stat()
    return {
        "source": f"{source.resolve()} {state.st_size} {state.st_mtime_ns}",
        "model": f"{model.name} {', '.join(model.versions)}",
        "options": repr(sorted(_without_files(options).items())),
        "encoder": repr(encoder),
    }


def _without_files(options: Mapping[str, Any]) -> dict[str, Any]:
    """With the digest of the mask in its place: a path stays the same when the file is another. Raises OSError."""
    mask = options.get("mask")
    return {**options} if mask is None else {**options, "mask": hashlib.sha256(read_source(mask)).hexdigest()}


def _counted(
    frames: Iterator[Painted], done: int, every: int | None, progress: Callable[[int, int | None], None]
) -> Iterator[Painted]:
    for number, frame in enumerate(frames, done + 1):
        yield frame
        progress(number, every)
