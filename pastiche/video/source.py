"""Reads a video: its frames, upright and in RGB, with their times."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from pastiche.pictures import Array
from pastiche.video.colours import VideoColours
from pastiche.video.completeness import missing_bytes
from pastiche.video.containers import open_input
from pastiche.video.errors import VideoError

RIGHT_ANGLE = 90


@dataclass(frozen=True)
class Timing:
    """Of a video, with the format of its pixels."""

    time_base: Fraction
    rate: Fraction
    """On average, in frames a second."""
    pixel_format: str


@dataclass(frozen=True)
class Frame:
    """A frame as it is shown; times in the video's time base."""

    pixels: Array
    """(H, W, 3), upright; a video of high dynamic range is mapped to that of a screen."""
    pts: int
    duration: int
    """0 where the file does not say."""
    pixel_aspect: Fraction
    """Width over height of a pixel."""
    colours: VideoColours
    """Of the pixels."""


class VideoSource:
    """A file that has a video."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self.path = path
        self._container = container
        self._stream = stream
        time_base, rate = stream.time_base or Fraction(1, 90_000), stream.average_rate or stream.base_rate or 25
        self.timing = Timing(Fraction(time_base), Fraction(rate), stream.codec_context.pix_fmt or "yuv420p")
        stream.thread_type = "AUTO"

    @property
    def frame_count(self) -> int | None:
        """As far as the file says, or by its duration; None where it says neither."""
        shown = sum(not entry.is_discard for entry in self._stream.index_entries)
        if self._stream.frames:
            return min(self._stream.frames, shown or self._stream.frames)
        if self._container.duration:
            return max(1, round(self._container.duration / av.time_base * self.timing.rate))
        return None

    @property
    def copied_streams(self) -> list[Stream]:
        """Sound and subtitles."""
        return [stream for stream in self._container.streams if stream.type in ("audio", "subtitle")]

    def frames(self, skipped: int = 0) -> Iterator[Frame]:
        """All frames after the first `skipped`, of one size. Raises VideoError where the file is broken or has none."""
        count, last, size = 0, None, None
        try:
            for decoded in self._container.decode(self._stream):
                size = self._require_size(decoded, size, count)
                count, last = count + 1, self._next_pts(decoded, last)
                if count > skipped:
                    yield _upright(decoded, last, Fraction(self._stream.sample_aspect_ratio or 1))
        except FFmpegError as error:
            raise VideoError(f"{self.path}: the video is broken after {count} frames: {error.strerror}") from error
        if not count:
            raise VideoError(f"{self.path}: the video has no frames; the file is not complete")

    def _require_size(self, frame: VideoFrame, expected: tuple[int, int] | None, count: int) -> tuple[int, int]:
        size = frame.width, frame.height
        if expected is not None and expected != size:
            change = " to ".join(f"{width}×{height}" for width, height in (expected, size))
            detail = f"the size changes after {count} frames, from {change}; videos of one size are accepted"
            raise VideoError(f"{self.path}: {detail}")
        return size

    def _next_pts(self, frame: VideoFrame, last: int | None) -> int:
        """The frame's time, which is later than that of the one before it; by the rate where the file has none."""
        base = self.timing.time_base
        step = max(1, round(1 / self.timing.rate / base))
        if frame.pts is None:
            return 0 if last is None else last + step
        pts = round(frame.pts * (frame.time_base or base) / base)
        return pts if last is None else max(pts, last + 1)


@contextmanager
def open_video(path: Path) -> Iterator[VideoSource]:
    """Raises VideoError for a file that is none, that is not complete, or that has no video; and OSError."""
    with open_input(path) as container:
        if missing := missing_bytes(path, container):
            raise VideoError(f"{path}: the file is not complete; its last {missing} bytes are missing")
        pictures = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not pictures:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise VideoError(f"{path} has no video, only {kinds}")
        yield VideoSource(path, container, pictures[0])


def _upright(frame: VideoFrame, pts: int, stored_aspect: Fraction) -> Frame:
    colours, turns = VideoColours.of(frame), frame.rotation // RIGHT_ANGLE
    pixels = np.ascontiguousarray(np.rot90(colours.to_sdr(colours.to_rgb(frame)), turns))
    aspect = 1 / stored_aspect if turns % 2 else stored_aspect
    return Frame(pixels, pts, frame.duration or 0, aspect, colours.of_result)
