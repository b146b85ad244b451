from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pastiche.video.colours import VideoColours
from pastiche.video.encoder import Painted, write_segment
from pastiche.video.encoder_options import ACCEPTED, EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.joining import LEAD, join, require_container
from pastiche.video.journal import Journal
from pastiche.video.source import Timing, open_video
from service.errors import InvalidRequest
from tests.pastiche.video.clips import panned, pictures, require_encoder, seconds, sound_packets, trimmed, write_clip

BASE = Fraction(1, 600)
COLOURS = VideoColours(1, 1, 1, 1, 8, 48)


def join_parts(source: Path, parts: Sequence[Sequence[int]], target: Path, options: EncoderOptions) -> list[str]:
    """Frames at these times, in segments, beside the sound of `source`."""
    timing = Timing(BASE, Fraction(25), "yuv420p")
    with Journal.open(target, {}) as journal:
        for part in parts:
            frames = (Painted(panned(pts // 10), pts, 24, Fraction(1), COLOURS) for pts in part)
            journal.add(write_segment(journal.new_path, frames, timing, options))
        return join(source, journal, BASE, target)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
def test_segments_follow_each_other(tmp_path: Path, name: str) -> None:
    source = write_clip(tmp_path / "in.mp4")
    assert join_parts(source, [[0, 24, 60], [90, 180]], tmp_path / name, EncoderOptions()) == []
    written = seconds(tmp_path / name)
    from_first = [round((each - written[0]) * 1000) for each in written]  # Matroska shifts all to begin with the sound
    assert from_first == [0, 40, 100, 150, 300]
    assert len(pictures(tmp_path / name)) == 5
    assert sound_packets(tmp_path / name) == sound_packets(source)


def test_sound_before_an_edit_is_left_out(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    whole = sound_packets(source)
    trimmed(source, Fraction(2, 10))
    join_parts(source, [[0, 24]], tmp_path / "out.mp4", EncoderOptions())
    kept = sound_packets(tmp_path / "out.mp4")
    heard = Fraction(len(whole) * 1024, 48000) - Fraction(2, 10)
    assert kept == whole[-len(kept) :]
    assert heard <= Fraction(len(kept) * 1024, 48000) <= heard + LEAD + Fraction(1024, 48000)


def test_container_is_checked_before_the_work(tmp_path: Path) -> None:
    with open_video(write_clip(tmp_path / "in.mp4")) as video:
        sound = video.copied_streams
        require_container(tmp_path / "out.mkv", "libx264", sound)
        with pytest.raises(InvalidRequest, match=r"no extension of a video; these are written: \.mp4"):
            require_container(tmp_path / "out.jpg", "libx264", sound)
        with pytest.raises(InvalidRequest, match="cannot hold what libx264 encodes"):
            require_container(tmp_path / "out.webm", "libx264", sound)
        with pytest.raises(VideoError, match=r"PyAV was built without libnone here; name another --codec"):
            require_container(tmp_path / "out.mkv", "libnone", sound)
        with pytest.raises(VideoError, match=r"cannot hold the sound, which is aac; name an \.mkv"):
            require_container(tmp_path / "out.webm", "libvpx-vp9", sound)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("codec", sorted(ACCEPTED))
def test_what_each_encoder_made_is_joined(tmp_path: Path, codec: str, name: str) -> None:
    require_encoder(codec)
    source, options = write_clip(tmp_path / "in.mp4"), EncoderOptions.model_validate({"codec": codec})
    assert join_parts(source, [[0, 20], [40, 60]], tmp_path / name, options) == []
    made = pictures(tmp_path / name)
    assert [np.abs(picture.astype(int) - panned(2 * at)).mean() < 12 for at, picture in enumerate(made)] == [True] * 4
    assert sound_packets(tmp_path / name) == sound_packets(source)


@pytest.mark.parametrize("sound", ["mp3", "libopus", "flac", "libvorbis"])
def test_sound_of_other_codecs_is_copied(tmp_path: Path, sound: str) -> None:
    require_encoder(sound)
    source = write_clip(tmp_path / "in.mkv", sound=sound)
    assert join_parts(source, [[0]], tmp_path / "out.mkv", EncoderOptions()) == []
    assert sound_packets(tmp_path / "out.mkv") == sound_packets(source)


def test_video_that_went_meanwhile_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"in\.mp4 cannot be read as a video: No such file"):
        join_parts(tmp_path / "in.mp4", [[0]], tmp_path / "out.mp4", EncoderOptions())
    assert not (tmp_path / "out.mp4").exists()
