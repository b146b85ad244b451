from pathlib import Path

import pytest

from pastiche.video.completeness import missing_bytes
from pastiche.video.containers import open_input
from tests.pastiche.video.clips import write_clip

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov", "frag_size": "2000"}
FRONT = {"movflags": "faststart"}
LIVE = {"live": "1"}


def missing(path: Path) -> int:
    with open_input(path) as container:
        return missing_bytes(path, container)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mov", FRONT),
        ("a.mp4", FRAGMENTS),
        ("a.mkv", {}),
        ("a.mkv", LIVE),
        ("a.avi", {}),
        ("a.ts", {}),
    ],
)
def test_nothing_is_missing_of_a_whole_file(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    path = write_clip(tmp_path / name, frames=12, options=options)
    assert missing(path) == 0
    with path.open("ab") as file:
        file.write(b"what somebody has added")
    assert missing(path) == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mov", FRONT), ("a.mp4", FRAGMENTS), ("a.mkv", {}), ("a.avi", {})],
)
@pytest.mark.parametrize("cut", [400, 3000])
def test_as_much_is_missing_as_was_cut(tmp_path: Path, name: str, options: dict[str, str], cut: int) -> None:
    path = write_clip(tmp_path / name, frames=12, options=options)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert 0 < missing(path) <= cut


def test_index_tells_where_boxes_do_not(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=12, options=FRONT)
    content = path.read_bytes()
    at = content.index(b"mdat") - 4
    path.write_bytes(content[:at] + bytes(4) + content[at + 4 : -1000])  # the length 0: up to the end of the file
    assert missing(path) == 1000


def test_wide_boxes_have_their_length_behind(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=2)
    wide = (1).to_bytes(4, "big") + b"mdat" + (5000).to_bytes(8, "big")
    path.write_bytes(path.read_bytes() + wide + bytes(4000))
    assert missing(path) == 5000 - 4016
