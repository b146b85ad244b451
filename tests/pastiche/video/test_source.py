from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import pastiche
from pastiche.video.conversion import convert
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.source import open_video
from tests.pastiche.video.clips import HEIGHT, STEP, TIME_BASE, WIDTH, panned, trimmed, turned, write_clip, write_sound


def test_frames_come_with_their_times(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mp4")
    with open_video(path) as video:
        assert video.frame_count == 5
        frames = list(video.frames())
        base = video.timing.time_base
    assert [round(frame.pts * base * 600) for frame in frames] == [0, STEP, 2 * STEP, 3 * STEP, 4 * STEP]
    assert np.abs(frames[2].pixels.astype(int) - panned(2)).mean() < 4
    assert frames[0].pixel_aspect == 1


def test_skipped_frames_are_those_at_the_beginning(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mp4")
    with open_video(path) as video:
        whole = [frame.pts for frame in video.frames()]
    with open_video(path) as video:
        assert [frame.pts for frame in video.frames(3)] == whole[3:]


def test_frames_that_an_edit_list_leaves_out_are_not_missed(tmp_path: Path, style: pastiche.Model) -> None:
    """A trimmed video: its file has all frames, of which those before the edit are there to decode the others."""
    path = trimmed(write_clip(tmp_path / "in.mp4", frames=10), Fraction(4 * STEP) * TIME_BASE)
    with open_video(path) as video:
        assert video.frame_count == 6
        frames = list(video.frames())
    assert [np.abs(frame.pixels.astype(int) - panned(4 + at)).mean() < 4 for at, frame in enumerate(frames)] == [
        True
    ] * 6
    assert convert(path, tmp_path / "out.mp4", style, {}, EncoderOptions()).frames == 6


def test_frames_are_counted_by_the_duration_where_the_file_does_not_say(tmp_path: Path) -> None:
    with open_video(write_clip(tmp_path / "in.mkv", frames=12, sound=None)) as video:
        assert video.frame_count in (11, 12, 13)
        assert len(list(video.frames())) == 12


def test_turned_video_is_upright(tmp_path: Path) -> None:
    with open_video(turned(write_clip(tmp_path / "in.mp4"))) as video:
        first = next(video.frames()).pixels
    assert first.shape == (WIDTH, HEIGHT, 3)
    assert np.abs(first.astype(int) - np.rot90(panned(0), -1)).mean() < 4


@pytest.mark.parametrize("skipped", [0, 4])
def test_size_that_changes_is_said(tmp_path: Path, skipped: int) -> None:
    path = write_clip(tmp_path / "in.ts", frames=5, sound=None)
    small = write_clip(tmp_path / "small.ts", 5, lambda number: np.ascontiguousarray(panned(number)[:32]), sound=None)
    path.write_bytes(path.read_bytes() + small.read_bytes())
    taken, message = 0, "the size changes after 5 frames, from 64×48 to 64×32; videos of one size are accepted"
    with open_video(path) as video, pytest.raises(VideoError, match=message):
        for taken, _ in enumerate(video.frames(skipped), 1):  # noqa: B007 # used after the loop
            pass
    assert taken == 5 - skipped


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    cases = [
        (write_sound(tmp_path / "sound.mp4"), "has no video, only audio"),
        (tmp_path / "notes.mp4", "cannot be read as a video"),
        (tmp_path / "none.mp4", "cannot be read as a video: No such file"),
    ]
    for path, message in cases:
        with pytest.raises(VideoError, match=message), open_video(path):
            pass
