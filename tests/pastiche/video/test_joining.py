from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pastiche.video.colours import VideoColours
from pastiche.video.encoder import Painted, write_segment
from pastiche.video.encoder_options import ACCEPTED, EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.joining import join, require_container
from pastiche.video.journal import Journal
from pastiche.video.source import Timing, open_video
from tests.pastiche.video.clips import panned, pictures, require_encoder, seconds, sound_packets, write_clip

BASE = Fraction(1, 600)
COLOURS = VideoColours(1, 1, 1, 1, 8, 48)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
def test_segments_follow_each_other(tmp_path: Path, name: str) -> None:
    source = write_clip(tmp_path / "in.mp4")
    journal = Journal.open(tmp_path / name, {})
    times = [[0, 24, 60], [90, 180]]
    for number, part in enumerate(times):
        frames = [Painted(panned(pts // 10), pts, 24, Fraction(1), COLOURS) for pts in part]
        timing = Timing(BASE, Fraction(25), "yuv420p")
        journal.add(write_segment(journal.path(number), iter(frames), timing, EncoderOptions()))
    assert join(source, journal, BASE, tmp_path / name) == []
    written = seconds(tmp_path / name)
    from_first = [round((each - written[0]) * 1000) for each in written]  # Matroska shifts all to begin with the sound
    assert from_first == [0, 40, 100, 150, 300]
    assert len(pictures(tmp_path / name)) == 5
    assert sound_packets(tmp_path / name) == sound_packets(source)


def test_container_is_checked_before_the_work(tmp_path: Path) -> None:
    with open_video(write_clip(tmp_path / "in.mp4")) as video:
        sound = video.copied_streams
        require_container(tmp_path / "out.mkv", "libx264", sound)
        with pytest.raises(VideoError, match=r"no extension of a video; these are written: \.mp4"):
            require_container(tmp_path / "out.jpg", "libx264", sound)
        with pytest.raises(VideoError, match="cannot hold what libx264 encodes"):
            require_container(tmp_path / "out.webm", "libx264", sound)
        with pytest.raises(VideoError, match=r"cannot hold the sound, which is aac; name an \.mkv"):
            require_container(tmp_path / "out.webm", "libvpx-vp9", sound)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("codec", sorted(ACCEPTED))
def test_what_each_encoder_made_is_joined(tmp_path: Path, codec: str, name: str) -> None:
    require_encoder(codec)
    source, journal = write_clip(tmp_path / "in.mp4"), Journal.open(tmp_path / name, {})
    options = EncoderOptions.model_validate({"codec": codec})
    for number in range(2):
        frames = [Painted(panned(number), number * 48 + pts, 24, Fraction(1), COLOURS) for pts in (0, 24)]
        timing = Timing(BASE, Fraction(25), "yuv420p")
        journal.add(write_segment(journal.path(number), iter(frames), timing, options))
    join(source, journal, BASE, tmp_path / name)
    made = pictures(tmp_path / name)
    assert [np.abs(picture.astype(int) - panned(at // 2)).mean() < 12 for at, picture in enumerate(made)] == [True] * 4
    assert sound_packets(tmp_path / name) == sound_packets(source)


@pytest.mark.parametrize("sound", ["mp3", "libopus", "flac", "libvorbis"])
def test_sound_of_other_codecs_is_copied(tmp_path: Path, sound: str) -> None:
    require_encoder(sound)
    source, journal = write_clip(tmp_path / "in.mkv", sound=sound), Journal.open(tmp_path / "out.mkv", {})
    frames = iter([Painted(panned(0), 0, 24, Fraction(1), COLOURS)])
    journal.add(write_segment(journal.path(0), frames, Timing(BASE, Fraction(25), "yuv420p"), EncoderOptions()))
    assert join(source, journal, BASE, tmp_path / "out.mkv") == []
    assert sound_packets(tmp_path / "out.mkv") == sound_packets(source)
