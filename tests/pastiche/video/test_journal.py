from pathlib import Path

import pytest

from pastiche.video.errors import VideoError
from pastiche.video.journal import JOURNAL, Journal, Segment

FIRST, SECOND = Segment(frames=48, start=0, last_duration=10), Segment(frames=3, start=480, last_duration=0)


def write(target: Path, made_of: dict[str, str], *segments: Segment) -> None:
    with Journal.open(target, made_of) as journal:
        for segment in segments:
            journal.new_path.write_bytes(f"video from {segment.start}".encode())
            journal.add(segment)


def test_journal_remembers_what_is_done(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", {"source": "a"}, FIRST, SECOND)
    with Journal.open(tmp_path / "out.mp4", {"source": "a"}) as again:
        assert (again.segments, again.frames, again.lost) == ((FIRST, SECOND), 51, "")
        assert [again.path(number).read_bytes() for number in (0, 1)] == [b"video from 0", b"video from 480"]


def test_what_was_made_of_something_else_begins_anew_and_says_so(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    write(target, {"source": "a", "model": "wave", "options": "c"}, FIRST, SECOND)
    for _ in range(2):  # nothing is added, so that the earlier journal remains
        with Journal.open(target, {"source": "a", "model": "sea", "options": "d"}) as other:
            assert (other.segments, other.frames) == ((), 0)
            assert other.lost == "51 frames that were done before are done anew: of another model, options"
            other.new_path.write_bytes(b"half")
    with Journal.open(target, {"source": "a", "model": "wave", "options": "c"}) as again:
        assert (again.frames, again.lost) == (51, "")
    write(target, {"source": "b"}, FIRST)
    with Journal.open(target, {"source": "b"}) as new:
        assert (new.segments, new.lost) == ((FIRST,), "")


def test_journal_that_is_broken_begins_anew_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", {}, FIRST)
    (tmp_path / ".out.mp4.part" / JOURNAL).write_text("{")
    with Journal.open(tmp_path / "out.mp4", {}) as again:
        assert again.segments == ()
        assert "cannot be read; what was done before is done again" in again.lost


@pytest.mark.parametrize("content", [None, b"", b"video from", b"video from 481"])
def test_segment_that_is_missing_or_damaged_is_done_again(tmp_path: Path, content: bytes | None) -> None:
    write(tmp_path / "out.mp4", {}, FIRST, SECOND, FIRST)
    damaged = tmp_path / ".out.mp4.part" / "000001.mp4"
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    with Journal.open(tmp_path / "out.mp4", {}) as again:
        assert again.segments == (FIRST,)
        assert again.lost == f"51 frames are done again: {damaged} is missing or damaged"


def test_result_is_made_by_one_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with Journal.open(target, {}):
        with pytest.raises(VideoError, match=r"a conversion into .*out\.mp4 is under way"), Journal.open(target, {}):
            pass
        with Journal.open(tmp_path / "other.mp4", {}):
            pass


def test_nothing_is_left_of_a_finished_one_or_of_one_without_segments(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "out.mp4", {}) as journal:
        journal.new_path.write_bytes(b"video")
        journal.add(FIRST)
        journal.remove()
    with Journal.open(tmp_path / "other.mp4", {}) as journal:
        journal.new_path.write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []
