import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from pastiche.video.colours import VideoColours
from pastiche.video.encoder import Painted, choose_pixel_format, write_segment
from pastiche.video.encoder_options import ACCEPTED, EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.source import Timing
from tests.pastiche.video.clips import panned, require_encoder
from tests.service.imaging.images import photo

ROOT = Path(__file__).parents[3]

TIMING = Timing(Fraction(1, 600), Fraction(25), "yuv420p")
COLOURS = VideoColours(1, 1, 1, 1, 8, 48)


def painted(number: int, pts: int) -> Painted:
    return Painted(panned(number), pts, 24, Fraction(4, 3), COLOURS)


def test_segment_begins_at_zero_with_a_key_frame(tmp_path: Path) -> None:
    frames = iter([painted(0, 100), painted(1, 110), painted(2, 190)])
    segment = write_segment(tmp_path / "one.mp4", frames, TIMING, EncoderOptions())
    assert (segment.frames, segment.start, segment.last_duration) == (3, 100, 24)
    with av.open(str(tmp_path / "one.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert packets[0].is_keyframe
    assert [round(packet.pts * packet.time_base * 600) for packet in packets if packet.pts is not None] == [0, 10, 90]
    assert all(packet.pts == packet.dts for packet in packets)


@pytest.mark.parametrize(
    ("codec", "wanted", "sides", "depth", "chosen"),
    [
        ("libx264", "yuv420p", (48, 64), 8, "yuv420p"),
        ("libx264", "yuv422p", (48, 64), 8, "yuv422p"),
        ("libx264", "yuv420p", (47, 64), 8, "yuv444p"),
        ("libx264", "yuv420p10le", (48, 64), 10, "yuv420p10le"),
        ("libx264", "rgb24", (48, 64), 8, "yuv420p"),
        ("libsvtav1", "yuv444p", (48, 64), 8, "yuv420p"),
    ],
)
def test_pixel_format_is_that_of_the_video_where_possible(
    codec: str, wanted: str, sides: tuple[int, int], depth: int, chosen: str
) -> None:
    frame = Painted(photo(1, *sides), 0, 0, Fraction(1), VideoColours(1, 1, 1, 1, depth, sides[0]))
    assert choose_pixel_format(codec, wanted, frame) == chosen


def test_encoder_that_cannot_is_named(tmp_path: Path) -> None:
    odd = Painted(photo(1, 47, 64), 0, 0, Fraction(1), COLOURS)
    with pytest.raises(VideoError, match="libsvtav1 cannot encode yuv444p, which this video needs; it takes yuv420p"):
        choose_pixel_format("libsvtav1", "yuv420p", odd)
    tiny = Painted(photo(1, 8, 12), 0, 0, Fraction(1), COLOURS)
    with pytest.raises(VideoError, match="libx265 cannot encode this, 12×8 pixels: Invalid argument"):
        write_segment(tmp_path / "one.mp4", iter([tiny]), TIMING, EncoderOptions(codec="libx265"))


@pytest.mark.parametrize("codec", sorted(ACCEPTED))
def test_encoders_say_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], codec: str) -> None:
    require_encoder(codec)
    options = EncoderOptions.model_validate({"codec": codec})
    write_segment(tmp_path / "one.mp4", iter([painted(0, 0), painted(1, 24)]), TIMING, options)
    assert capfd.readouterr() == ("", "")


NARROW_FRAMES = """
import sys
from fractions import Fraction
from pathlib import Path
from pastiche.video.encoder import write_segment
from pastiche.video.encoder_options import ACCEPTED, EncoderOptions
from tests.pastiche.video.test_encoder import COLOURS, TIMING, Painted, photo
for height, width in ((16, 16), (17, 33), (24, 40), (33, 48)):
    frames = (Painted(photo(number, height, width), number * 24, 24, Fraction(1), COLOURS) for number in range(5))
    write_segment(Path(sys.argv[1]), frames, TIMING, EncoderOptions(codec="libx265"))
"""


def test_narrow_frames_do_not_end_the_process(tmp_path: Path) -> None:
    require_encoder("libx265")
    command = [sys.executable, "-c", NARROW_FRAMES, str(tmp_path / "one.mp4")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
