import sys
from pathlib import Path

import pytest

from client.__main__ import main
from pastiche.video.command import Progress
from tests.pastiche.video.clips import pictures, write_clip


@pytest.fixture(autouse=True)
def _small(video_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STORES": video_store, "DEVICE": "cpu", "PRECISION": "fp32", "THREADS": 1}.items():
        monkeypatch.setenv(f"PASTICHE_{name}", str(value))


def test_video_is_painted_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    command = ["stylize", "wave", str(source), "-o", str(target), "--strength=0.5", "--crf=30", "--preset=veryfast"]
    assert main(command) == 0
    assert "1 written, 5 frames; flicker: " in capsys.readouterr().err
    assert len(pictures(target)) == 5
    assert main(command) == 0
    assert "1 there already" in capsys.readouterr().err


def test_video_is_enlarged_by_the_command(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=1)
    assert main(["upscale", "2", str(source), "-o", str(tmp_path / "out.mp4"), "--quiet"]) == 0
    assert pictures(tmp_path / "out.mp4")[0].shape == (96, 128, 3)


def test_names_may_have_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "12:30.mp4", frames=1)
    assert main(["stylize", "wave", "12:30.mp4", "-o", "12:31.mp4", "--quiet"]) == 0
    assert len(pictures(tmp_path / "12:31.mp4")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12:30.mp4", "12:31.mp4"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["stylize", "none", "in.mp4", "-o", "out.mp4"], 2, "no model is named 'none'; there are: wave, x4"),
        (["stylize", "wave@9", "in.mp4", "-o", "out.mp4"], 2, "wave has no version 9"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--strenght=1"], 2, "did you mean strength?"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--image=in.png"], 2, "stylize has no option 'image'"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--self=1"], 2, "stylize has no option 'self'"),
        (["upscale", "4", "in.mp4", "-o", "out.mp4", "--scale=2"], 2, "upscale has no option 'scale'"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--codec=h264"], 2, "codec is 'h264'"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--preset=nonsense"], 2, "libx264 accepts ultrafast"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--quality="], 2, "quality"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--size=99999999"], 2, "size is '99999999'"),
        (["stylize", "wave", "in.mp4", "-o", "out.mp4", "--strength=nan"], 2, "strength is 'nan'"),
        (["stylize", "wave", "in.mp4", "-o", "out.png"], 2, "no extension of a video"),
        (["stylize", "wave", "in.mp4", "-o", "notes.txt"], 2, "no extension of a video"),
        (["stylize", "wave", "in.mp4", "-o", "out.webm"], 2, ".webm cannot hold what libx264 encodes"),
        (["stylize", "x4", "in.mp4", "-o", "out.mp4"], 2, "'x4' is no style, but enlarges"),
        (["stylize", "wave", "in.mp4", "-o", "folder"], 2, "folder/in.mp4 is there, and is no file"),
        (["stylize", "wave", "in.mp4", "-o", "/dev/full", "--overwrite"], 2, "/dev/full is there, and is no file"),
        (["stylize", "wave", "in.mp4", "-o", "in.mp4"], 2, "in.mp4 is the video itself"),
        (["stylize", "wave", "in.mp4", "-o", "../in/in.mp4", "--overwrite"], 2, "in.mp4 is the video itself"),
        (["stylize", "wave", "in.mp4", "-o", "."], 2, "in.mp4 is the video itself"),
        (["stylize", "wave", "in.mp4", "other.jpg", "-o", "out"], 2, "videos are done one by one"),
        (["stylize", "wave", "none.mp4", "-o", "out.mp4"], 2, "there is no none.mp4"),
        (["stylize", "wave", "none.mp4", "-o", "old.mp4"], 2, "there is no none.mp4"),
        (["stylize", "wave", "folder/in.mp4", "-o", "out.mp4"], 2, "folder/in.mp4 is no file"),
        (["stylize", "wave", "notes.mp4", "-o", "out.mp4"], 1, "notes.mp4 cannot be read as a video"),
        (["upscale", "much", "in.mp4", "-o", "out.mp4"], 2, "'much' is no scale"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    message: str,
) -> None:
    folder = tmp_path / "in"
    (folder / "folder" / "in.mp4").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in ("old.mp4", "notes.mp4", "notes.txt"):
        (folder / name).write_text("no video")
    write_clip(folder / "in.mp4", frames=1)
    there = sorted(folder.iterdir())
    assert main(words) == status
    assert message in capsys.readouterr().err
    assert sorted(folder.iterdir()) == there


@pytest.mark.parametrize(
    ("name", "made"), [("in.mp4", "in.mp4"), ("in.TS", "in.mkv"), ("in.m2ts", "in.mkv"), ("in.3gp", "in.mkv")]
)
def test_result_in_a_folder_has_the_name_of_the_video(tmp_path: Path, name: str, made: str) -> None:
    (tmp_path / "painted").mkdir()
    source = write_clip(tmp_path / name, frames=1, sound=None)
    assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "painted"), "--quiet"]) == 0
    assert [path.name for path in (tmp_path / "painted").iterdir()] == [made]


def test_results_of_videos_of_one_name_do_not_collide(tmp_path: Path) -> None:
    (tmp_path / "painted").mkdir()
    for name in ("in.avi", "in.ts", "in.mp4", "other.ts"):
        write_clip(tmp_path / name, frames=1, sound=None)
    for source in sorted(tmp_path.glob("*.*")):
        assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "painted"), "--quiet"]) == 0
    made = sorted(path.name for path in (tmp_path / "painted").iterdir())
    assert made == ["in.avi.mkv", "in.mp4", "in.ts.mkv", "other.mkv"]


def test_progress_begins_with_what_is_done(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(quiet=False)
    progress(40, 100)
    progress(50, 100)
    progress.close()
    assert "50/100" in capsys.readouterr().err
