from pathlib import Path

import pytest

from pastiche.video.journal import JOURNAL, Journal, Segment

FIRST, SECOND = Segment(frames=48, start=0, last_duration=10), Segment(frames=3, start=480, last_duration=0)


def test_journal_remembers_what_is_done(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "out.mp4", {"source": "a"})
    for segment in (FIRST, SECOND):
        journal.add(segment)
    again = Journal.open(tmp_path / "out.mp4", {"source": "a"})
    assert again.segments == (FIRST, SECOND)
    assert again.frames == 51
    assert again.path(1).parent == journal.folder


@pytest.mark.parametrize("broken", [False, True])
def test_other_source_or_broken_journal_begins_anew(tmp_path: Path, broken: bool) -> None:
    journal = Journal.open(tmp_path / "out.mp4", {"source": "a"})
    journal.add(FIRST)
    journal.path(0).write_bytes(b"video")
    if broken:
        (journal.folder / JOURNAL).write_text("{")
    again = Journal.open(tmp_path / "out.mp4", {"source": "a" if broken else "b"})
    assert again.segments == ()
    assert not again.path(0).exists()


def test_nothing_is_left_of_a_finished_one(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "out.mp4", {})
    journal.add(FIRST)
    journal.remove()
    assert list(tmp_path.iterdir()) == []
