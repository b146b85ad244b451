from pathlib import Path

import pytest

from pastiche.video.containers import open_input, open_output
from pastiche.video.errors import VideoError
from tests.pastiche.video.clips import pictures, write_clip


@pytest.mark.parametrize("name", ["12:30.mp4", "file:a.mp4", "http:b.mp4", "-a.mp4", "p%03d.mp4", "two\nlines.mp4"])
def test_names_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / name, frames=2)
    options = {"movflags": "faststart"}
    with open_input(Path(name)) as found, open_output(Path(f"x{name}"), "mov", options) as made:
        copy = made.add_stream_from_template(found.streams.video[0], opaque=True)
        for packet in found.demux(video=0):
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    assert len(pictures(tmp_path / f"x{name}")) == 2


def test_what_is_no_video_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.mp4").write_text("no video")
    for name in ("notes.mp4", "12:30.mp4"):
        with pytest.raises(VideoError, match=f"^{name} cannot be read as a video: (Invalid data|No such file)"):
            open_input(Path(name))
