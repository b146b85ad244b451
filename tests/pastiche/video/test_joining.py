from fractions import Fraction
from pathlib import Path

import av
import pytest

from pastiche.video.colours import VideoColours
from pastiche.video.encoder import EncoderOptions, Painted, write_segment
from pastiche.video.errors import VideoError
from pastiche.video.joining import join, require_container
from pastiche.video.journal import Journal
from pastiche.video.source import Timing, open_video
from tests.pastiche.video.clips import panned, pictures, seconds, sound_packets, write_clip

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


def test_library_of_codecs_is_there() -> None:
    assert {"libx264", "libx265", "libsvtav1", "libvpx-vp9"} <= av.codecs_available
