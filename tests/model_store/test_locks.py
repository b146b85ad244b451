import fcntl
import os
from pathlib import Path

import pytest

from model_store.locks import lock


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_lock_is_held_until_it_is_closed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    path.touch() if kind == "file" else path.mkdir()
    held = lock(path)
    with pytest.raises(BlockingIOError):
        lock(path)
    with pytest.raises(BlockingIOError):
        lock(path, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(held)
    shared = [lock(path, fcntl.LOCK_SH) for _ in range(2)]
    with pytest.raises(BlockingIOError):
        lock(path)
    for descriptor in shared:
        os.close(descriptor)
    os.close(lock(path))


def test_nothing_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock(tmp_path / "none")


@pytest.mark.parametrize("again", [False, True])
def test_what_left_before_it_was_locked_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    path, flock, opened = tmp_path / "file", fcntl.flock, list[int]()
    path.touch()

    def lock_what_leaves(descriptor: int, operation: int) -> None:
        opened.append(descriptor)
        flock(descriptor, operation)
        path.rename(tmp_path / "elsewhere")
        if again:
            path.touch()

    monkeypatch.setattr(fcntl, "flock", lock_what_leaves)
    with pytest.raises(FileNotFoundError):
        lock(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
