"""`pastiche stylize STYLE in.mp4 -o out.mp4` and `pastiche upscale SCALE in.mp4 -o out.mp4`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

import pastiche
from client.error_messages import in_words
from client.files import names_in
from client.formats import VIDEO_SUFFIXES
from model_store.allocator import configure_allocator
from pastiche.options import checked
from pastiche.video.conversion import convert
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.joining import FORMATS, require_extension
from service.errors import InvalidRequest, ServiceError, UnknownModel, UnknownVersion

ENCODER_OPTIONS = ("codec", "crf", "preset")

MADE_MKV = (VIDEO_SUFFIXES - FORMATS.keys()) | {".mkv"}
"""The extensions of videos whose results are .mkv, unless they are named."""

NO_OPTIONS = frozenset({"image", "scale", "self"})
"""What a model takes by these names is no option of the service."""


class Progress:
    """A bar with the frames that are done, and the time that is left."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, done: int, every: int | None) -> None:
        """As `convert` calls it: first with what an earlier run has done."""
        if self._bar is None:
            hidden = True if self._quiet else None
            self._bar = tqdm(total=every, initial=done, unit=" frames", disable=hidden, file=sys.stderr)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def run(
    command: str, models: str, source: Path, result: Path, options: Mapping[str, str], *, overwrite: bool, quiet: bool
) -> int:
    """Convert one video, with options of the service and ENCODER_OPTIONS; returns the exit status of `pastiche`."""
    try:
        target = _target(source, result)
    except InvalidRequest as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if target.exists() and not overwrite:
        print(f"1 there already: {target}", file=sys.stderr)
        return 0
    progress = Progress(quiet=quiet)
    try:
        _convert(command, models, source, target, options, progress)
    except (VideoError, ServiceError, ValueError, OSError) as error:
        progress.close()
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2 if isinstance(error, InvalidRequest | UnknownModel | UnknownVersion) else 1
    return 0


def _target(source: Path, result: Path) -> Path:
    """The file that is written: `result`, or where that is a folder, one of the video's name in it.

    Raises InvalidRequest where there is no video, or where the file could not be written, or not without a loss.
    """
    if not source.is_file():
        raise InvalidRequest(f"{source} is no file" if source.exists() else f"there is no {source}")
    target = result / _name(source) if result.is_dir() else result
    if target.exists() and target.samefile(source):
        raise InvalidRequest(f"{target} is the video itself; name another file with -o")
    if target.exists() and not target.is_file():
        raise InvalidRequest(f"{target} is there, and is no file that could be replaced; name another with -o")
    require_extension(target)
    return target


def _name(source: Path) -> str:
    """As the video's own; .mkv, which holds everything, for a container that is only read.

    m.avi becomes m.avi.mkv where a video beside it would become m.mkv, too.
    """
    if source.suffix.lower() in FORMATS:
        return source.name
    rivals = {name for name in names_in(source.parent, MADE_MKV) if Path(name).stem == source.stem}
    return f"{source.name if rivals - {source.name} else source.stem}.mkv"


def _convert(
    command: str, models: str, source: Path, target: Path, options: Mapping[str, str], progress: Progress
) -> None:
    configure_allocator()
    encoder = checked(EncoderOptions, {name: options[name] for name in ENCODER_OPTIONS if name in options})
    rest = {name: value for name, value in options.items() if name not in ENCODER_OPTIONS}
    if unknown := sorted(NO_OPTIONS & rest.keys()):
        raise InvalidRequest(f"{command} has no option {unknown[0]!r}; the API lists those that there are")
    with pastiche.load(_scale(models) if command == "upscale" else models) as model:
        if command == "stylize" and model.upscales:
            raise InvalidRequest(f"{models!r} is no style, but enlarges: pastiche upscale SCALE … does that")
        converted = convert(source, target, model, rest, encoder, progress, _note)
    progress.close()
    for stream in converted.left_out:
        print(f"left out: {stream}, which {target.suffix} cannot hold", file=sys.stderr)
    print(f"1 written, {converted.frames} frames; {converted.flicker}", file=sys.stderr)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _scale(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no scale; a number is accepted, such as 4") from None
