import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.remote.version_cache import VersionCache


def filled(folder: Path, max_bytes: int) -> VersionCache:
    """Versions 1, 2 and 3 of 100 bytes each, used in this order."""
    cache = VersionCache(folder, max_bytes)
    for version in (1, 2, 3):
        cache.lease("wave", version).release()
        cache.write(f"wave/{version}/README.md", b"x" * 100)
        os.utime(folder / f"wave/{version}", (version, version))
    return cache


def versions(cache: VersionCache) -> list[str]:
    return sorted(path.name for path in (cache.folder / "wave").iterdir())


def test_least_recently_used_versions_leave(tmp_path: Path) -> None:
    cache = filled(tmp_path, 200)
    cache.trim()
    assert versions(cache) == ["2", "3"]
    cache.lease("wave", 2).release()
    VersionCache(tmp_path, 100).trim()
    assert (versions(cache), cache.read("wave/2/README.md")) == (["2"], b"x" * 100)
    assert cache.read("wave/3/README.md") is None
    assert [path.name for path in tmp_path.iterdir()] == ["wave"]


def test_files_that_vanish_while_they_are_counted_are_not(tmp_path: Path) -> None:
    cache = filled(tmp_path, 200)
    (tmp_path / "wave/3/.README.md.temporary").symlink_to("renamed")  # it is listed, and is not there
    cache.trim()
    assert versions(cache) == ["2", "3"]


def test_what_was_leaving_when_a_process_was_killed_leaves(tmp_path: Path) -> None:
    cache = filled(tmp_path, 10_000)
    (tmp_path / ".leaving.abcd1234").mkdir()
    (tmp_path / "wave/1").rename(tmp_path / ".leaving.abcd1234/1")
    cache.trim()
    assert [path.name for path in tmp_path.iterdir()] == ["wave"]
    assert versions(cache) == ["2", "3"]


def test_version_in_use_never_leaves(tmp_path: Path) -> None:
    cache = filled(tmp_path, 0)
    lease = cache.lease("wave", 1)
    cache.trim()
    assert versions(cache) == ["1"]
    lease.release()
    cache.trim()
    assert versions(cache) == []


def test_version_that_leaves_while_it_is_leased_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process lets it leave, and another makes it anew, after the folder was opened and before it was locked."""
    cache, folder = filled(tmp_path, 10_000), tmp_path / "wave" / "1"
    flock, locked = fcntl.flock, list[int]()

    def lock_what_leaves(descriptor: int, operation: int) -> None:
        if not locked:
            folder.rename(tmp_path / ".leaving")
            folder.mkdir()
        locked.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_what_leaves)
    lease = cache.lease("wave", 1)
    assert len(locked) == 2
    VersionCache(tmp_path, 0).trim()
    assert folder.exists()
    lease.release()


def test_version_in_use_by_another_process_never_leaves(tmp_path: Path) -> None:
    cache = filled(tmp_path, 0)
    hold = "import fcntl, sys; fcntl.flock(int(sys.argv[1]), fcntl.LOCK_SH); print(flush=True); sys.stdin.read()"
    descriptor = os.open(tmp_path / "wave/2", os.O_RDONLY)
    command = [sys.executable, "-c", hold, str(descriptor)]
    with subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        os.close(descriptor)
        cache.trim()
        assert versions(cache) == ["2"]
        other.communicate()
    cache.trim()
    assert versions(cache) == []
