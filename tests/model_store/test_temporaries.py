import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from model_store.durable import create_folder, replace_file
from model_store.temporaries import remove_old, temporary_file, temporary_folder

Make = Callable[[Path], AbstractContextManager[Path]]

WRITE = """
import sys
from pathlib import Path
from model_store.temporaries import temporary_file, temporary_folder
with {make}(Path(sys.argv[1])) as temporary:
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def writer(make: Make, target: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Another process that is writing `target`, and the name of its temporary file or folder."""
    command = [sys.executable, "-c", WRITE.format(make=make.__name__), str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_what_a_killed_writer_has_left_goes_with_the_next_write_and_not_before(tmp_path: Path, make: Make) -> None:
    target = tmp_path / "state.pt"
    with writer(make, target) as (process, left):
        with make(target) as temporary:
            assert names(tmp_path) == sorted([left, temporary.name])
            temporary.rename(target)
        process.kill()
        process.wait()
    assert names(tmp_path) == sorted([left, "state.pt"])
    with make(tmp_path / "state") as other:  # whose names begin alike
        other.rename(tmp_path / "state")
    assert names(tmp_path) == sorted([left, "state", "state.pt"])
    with make(target) as temporary:
        assert names(tmp_path) == sorted([temporary.name, "state", "state.pt"])


def test_files_and_folders_that_are_written_clean_up(tmp_path: Path) -> None:
    for name in (".current.abcd1234", ".1.abcd1234"):
        (tmp_path / name).touch()
    replace_file(tmp_path / "current", b"1")
    assert names(tmp_path) == [".1.abcd1234", "current"]
    create_folder(tmp_path / "1", {"weights": b""})
    assert names(tmp_path) == ["1", "current"]


@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_a_failure_leaves_nothing(tmp_path: Path, make: Make) -> None:
    with pytest.raises(KeyboardInterrupt), make(tmp_path / "state.pt"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_one_that_is_removed_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    flock = fcntl.flock
    removed: list[Path] = []

    def remove_first(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].rmdir() if removed[0].is_dir() else removed[0].unlink()

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with make(tmp_path / "state.pt") as temporary:
        assert temporary.exists()
    assert temporary.name not in [path.name for path in removed]


def test_on_a_file_system_without_locks_nothing_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_: int, __: int) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / ".current.abcd1234").touch()
    replace_file(tmp_path / "current", b"1")
    assert names(tmp_path) == [".current.abcd1234", "current"]


def test_old_ones_are_removed_whatever_their_target(tmp_path: Path) -> None:
    for name in (".2.abcd_123", ".3.efgh5678", ".notes.mine"):
        (tmp_path / name).mkdir()
    for name in (".2.abcd_123", ".notes.mine"):
        os.utime(tmp_path / name, (time.time() - 3700,) * 2)
    remove_old(tmp_path)
    assert names(tmp_path) == [".3.efgh5678", ".notes.mine"]
