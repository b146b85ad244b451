"""Encodes frames to a segment: a part of a video that starts with a key frame and can be joined to the next."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

from av import VideoFrame
from av.codec import Codec
from av.error import FFmpegError
from av.video.stream import VideoStream

from pastiche.pictures import Array
from pastiche.video.colours import VideoColours
from pastiche.video.containers import open_output
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.journal import Segment
from pastiche.video.scheduling import unchanged_scheduling
from pastiche.video.source import Timing

SEGMENT_FRAMES = 48
"""So much work at most is done again after a kill; key frames are as far apart."""

FULL, HALF = "444", "420"


@dataclass(frozen=True)
class Painted:
    """A frame that is to be encoded."""

    pixels: Array
    pts: int
    duration: int
    pixel_aspect: Fraction
    colours: VideoColours


def write_segment(path: Path, frames: Iterator[Painted], timing: Timing, options: EncoderOptions) -> Segment:
    """Write frames of one size, one at least, as a file in which the first frame has the time 0.

    No frame depends on later ones, so that times are in order across segments. Raises VideoError.
    """
    first = last = next(frames)
    count, (height, width) = 0, first.pixels.shape[:2]
    os.environ.setdefault("SVT_LOG", "1")  # errors alone; libsvtav1 has no other option for it
    try:
        with open_output(path, "mp4") as container:
            stream = container.add_stream(options.codec, rate=timing.rate, options=options.arguments(width))
            assert isinstance(stream, VideoStream)
            _configure(stream, first, timing, choose_pixel_format(options.codec, timing.pixel_format, first))
            with unchanged_scheduling():
                container.start_encoding()
            for count, last in enumerate(chain([first], frames), 1):  # noqa: B007 # both are used after the loop
                container.mux(stream.encode(_picture(last, stream, last.pts - first.pts, timing)))
            container.mux(stream.encode(None))
    except FFmpegError as error:
        detail = f"{options.codec} cannot encode this, {width}×{height} pixels: {error.strerror}"
        raise VideoError(detail) from error
    return Segment(frames=count, start=first.pts, last_duration=last.duration)


def choose_pixel_format(codec: str, wanted: str, frame: Painted) -> str:
    """The format of the video itself, where the encoder has it; else the usual one, which needs even sides."""
    known = [each.name for each in Codec(codec, "w").video_formats or ()]
    odd = any(side % 2 for side in frame.pixels.shape[:2])
    if wanted in known and wanted.startswith("yuv") and not (odd and FULL not in wanted):
        return wanted
    chroma, depth = FULL if odd else HALF, "10le" if frame.colours.depth > 8 else ""
    usual = f"yuv{chroma}p{depth}"
    if usual in known:
        return usual
    raise VideoError(f"{codec} cannot encode {usual}, which this video needs; it takes {', '.join(known)}")


def _picture(frame: Painted, stream: VideoStream, pts: int, timing: Timing) -> VideoFrame:
    picture = frame.colours.from_rgb(frame.pixels, stream.pix_fmt or "yuv420p")
    picture.pts, picture.time_base, picture.duration = pts, timing.time_base, frame.duration
    return picture


def _configure(stream: VideoStream, frame: Painted, timing: Timing, pixel_format: str) -> None:
    colours, (height, width) = frame.colours, frame.pixels.shape[:2]
    stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
    stream.time_base = stream.codec_context.time_base = timing.time_base
    context = stream.codec_context
    context.sample_aspect_ratio = frame.pixel_aspect
    context.max_b_frames, context.gop_size = 0, SEGMENT_FRAMES
    context.colorspace, context.color_range = colours.declared_matrix, colours.color_range
    context.color_primaries, context.color_trc = colours.primaries, colours.transfer
