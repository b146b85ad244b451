import errno
import os
import re
import time
from pathlib import Path

import pytest

from model_store.durable import (
    create_file,
    create_folder,
    made_folder,
    move_file,
    replace_file,
    try_writing,
    try_writing_file,
    write_folder,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_folder_appears_with_its_files(tmp_path: Path) -> None:
    write_folder(tmp_path / "wave/1", {"a": b"one", "b": b"two"})
    assert names(tmp_path / "wave") == ["1"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "wave/1").iterdir()} == {"a": b"one", "b": b"two"}
    assert (tmp_path / "wave/1").stat().st_mode & 0o777 == 0o755


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "wave/1", {"a": b"one"})
    with pytest.raises(OSError, match="1"):
        write_folder(tmp_path / "wave/1", {"a": b"other"})
    assert (tmp_path / "wave/1/a").read_bytes() == b"one"
    assert names(tmp_path / "wave") == ["1"]


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_written_leaves_none_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "store").mkdir()

    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    for folder in (tmp_path / "store/wave/1", tmp_path / "new/store/wave/1"):
        with pytest.raises(type(error)):
            write_folder(folder, {"a": b"one"})
    assert names(tmp_path) == ["store"]
    assert names(tmp_path / "store") == []


def test_a_folder_that_was_there_before_a_failure_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZeroDivisionError), made_folder(tmp_path / "empty"):
        raise ZeroDivisionError
    assert names(tmp_path) == ["empty"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_written_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    create_file(tmp_path / "one", b"one")
    assert (tmp_path / "one").read_bytes() == b"one"
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o644
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "one", tmp_path / "link"):
        with pytest.raises(OSError, match=path.name):
            create_file(path, b"other")
    assert (tmp_path / "one").read_bytes() == b"one"
    assert names(tmp_path) == ["link", "one"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        replace_file(tmp_path / "current", content)
        assert (tmp_path / "current").read_bytes() == content
    assert names(tmp_path) == ["current"]
    assert (tmp_path / "current").stat().st_mode & 0o777 == 0o644


def test_a_replacement_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "current", b"one")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        replace_file(tmp_path / "current", b"two")
    assert (tmp_path / "current").read_bytes() == b"one"
    assert names(tmp_path) == ["current"]


@pytest.mark.parametrize("call", ["write", "rename"])
def test_what_cannot_be_written_is_named_and_not_its_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # it names no file

    if call == "write":
        monkeypatch.setattr(os, "fsync", full)
    else:
        (tmp_path / "current").mkdir()
        (tmp_path / "1").touch()
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "current")) + "'$"):
        replace_file(tmp_path / "current", b"1")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "1")) + "'$"):
        create_folder(tmp_path / "1", {"a": b"one"})


def test_whether_a_folder_can_be_written_is_tried_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "store", tmp_path / "new/store/wave"):
        try_writing(folder)
    for file in (tmp_path / "file", tmp_path / "new"):
        try_writing_file(file)
    for folder in (tmp_path / "file", tmp_path / "file/wave"):
        with pytest.raises(NotADirectoryError, match=str(folder)):
            try_writing(folder)
    with pytest.raises(IsADirectoryError):
        try_writing_file(tmp_path)
    with pytest.raises(NotADirectoryError, match="file/wave"):
        try_writing(tmp_path / "file/wave")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*new/store/wave'"):
        try_writing(tmp_path / "new/store/wave")
    assert names(tmp_path) == ["file"]


def test_a_file_is_moved_once_its_content_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, sync = list[int](), os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    (tmp_path / "new").write_bytes(b"two")
    (tmp_path / "current").write_bytes(b"one")
    file, folder = (path.stat().st_ino for path in (tmp_path / "new", tmp_path))
    monkeypatch.setattr(os, "fsync", record)
    move_file(tmp_path / "new", tmp_path / "current")
    assert (tmp_path / "current").read_bytes() == b"two"
    assert names(tmp_path) == ["current"]
    assert synced == [file, folder]


def test_old_temporary_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    left = [".2.abcd_123", ".3.efgh5678", ".notes.mine", ".current.0a1b2c3d"]
    for name in left[:3]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"half")
    (tmp_path / left[3]).touch()
    for name in (left[0], left[2], left[3]):
        os.utime(tmp_path / name, (time.time() - 3700,) * 2)
    write_folder(tmp_path / "1", {"a": b"one"})
    assert names(tmp_path) == [".3.efgh5678", ".notes.mine", "1"]
