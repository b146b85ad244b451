"""Tiny videos for tests."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from pastiche.pictures import Array
from tests.service.imaging.images import photo

HEIGHT, WIDTH = 48, 64
TIME_BASE = Fraction(1, 600)
STEP = 24


def require_encoder(name: str) -> None:
    """Skip a test for which PyAV was built without what it needs."""
    if name not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {name}")


def panned(number: int) -> Array:
    """A window that moves over a picture, two pixels a frame."""
    return np.ascontiguousarray(photo(1, HEIGHT, WIDTH * 4)[:, 2 * number : 2 * number + WIDTH])


def still(number: int) -> Array:
    """The same picture again."""
    return photo(1, HEIGHT, WIDTH)


def noisy(number: int) -> Array:
    """The same picture with other noise."""
    noise = np.random.default_rng(number).integers(-2, 3, (HEIGHT, WIDTH, 3))
    return np.clip(still(number).astype(int) + noise, 0, 255).astype(np.uint8)


def write_clip(
    path: Path,
    frames: int = 5,
    picture: Callable[[int], Array] = panned,
    times: Sequence[int] | None = None,
    sound: str | None = "aac",
    colours: dict[str, Any] | None = None,
    title: str = "",
    options: dict[str, str] | None = None,
) -> Path:
    """A video of these frames, at times in TIME_BASE, with a quarter of a second of sound."""
    with av.open(str(path), "w", options=options or {}) as container:
        container.metadata.update({"title": title} if title else {})
        video = container.add_stream("libx264", rate=25, options={"crf": "0"})
        assert isinstance(video, VideoStream)
        video.height, video.width = picture(0).shape[:2]
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = TIME_BASE
        for name, value in (colours or {}).items():
            setattr(video.codec_context, name, value)
        audio: Any = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
            frame.pts, frame.time_base = (times[number] if times else number * STEP), TIME_BASE
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number in range(12 if audio else 0):
            tone = np.sin(np.arange(1024) / (5 + number)).astype(np.float32)[None]
            made = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            made.sample_rate, made.pts, made.time_base = 48000, number * 1024, Fraction(1, 48000)
            container.mux(audio.encode(made))
        if audio:
            container.mux(audio.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with sound alone."""
    with av.open(str(path), "w") as container:
        audio: Any = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def turned(path: Path) -> Path:
    """The video of a phone that was held upright: players turn it by 90° clockwise (ISO 14496-12 §8.3.2, matrix)."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4
    matrix = [0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30]
    content[at + 40 : at + 76] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)
    return path


def trimmed(path: Path, begin: Fraction) -> Path:
    """An MP4 that begins later by its edit lists alone (ISO 14496-12 §8.6.6), as phones and `ffmpeg -c copy` trim."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        scales = [stream.time_base for stream in container.streams]
    at = 0
    for scale in scales:
        at = content.index(b"elst", at + 1)
        media_time = slice(at + 16, at + 20)  # behind its version, the number of edits, and the length of the first
        moved = int.from_bytes(content[media_time], "big") + round(begin / (scale or 1))
        content[media_time] = moved.to_bytes(4, "big")
    path.write_bytes(content)
    return path


def seconds(path: Path) -> list[Fraction]:
    """The times of the frames of a video."""
    with av.open(str(path)) as container:
        return [Fraction(frame.pts or 0) * frame.time_base for frame in container.decode(video=0) if frame.time_base]


def pictures(path: Path) -> list[Array]:
    """The frames of a video, RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound_packets(path: Path) -> list[bytes]:
    """The sound of a video, encoded."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]
