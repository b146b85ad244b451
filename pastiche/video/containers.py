"""Opens the files of videos, by their paths and nothing else."""

from collections.abc import Mapping
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from pastiche.video.errors import VideoError


def open_input(path: Path) -> InputContainer:
    """Raises VideoError for a file that is no video."""
    try:
        return av.open(_location(path))
    except FFmpegError as error:
        raise VideoError(f"{path} cannot be read as a video: {error.strerror}") from error


def open_output(path: Path, kind: str, options: Mapping[str, str] | None = None) -> OutputContainer:
    """`kind`: as FFmpeg calls the container, such as mp4 or matroska. Raises FFmpegError."""
    return av.open(_location(path), "w", format=kind, options=dict(options or {}))


def _location(path: Path) -> str:
    """Absolute, as FFmpeg takes 12:30.mp4 for an address."""
    return str(path.absolute())
