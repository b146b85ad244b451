"""The files of versions that were fetched, in a folder of this machine that several processes share.

<folder>/<name>/<version>/<file>; files are written atomically, and whole versions leave, the least recently used first.
Who uses a version holds a shared lock on its folder, and a version that is locked never leaves.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from model_store.durable import replace_file
from model_store.locks import lock

_LEAVING = ".leaving."
"""How folders of versions that leave begin."""


@dataclass(frozen=True)
class CacheSettings:
    """Where the files of stores at URLs are kept, and how many bytes of each store."""

    folder: Path = Path("~/.cache/pastiche/stores")
    max_bytes: int = 4 * 2**30


class Lease:
    """A version that stays in the cache as long as this object, or until `release`."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where there is no such folder, or it leaves meanwhile."""
        self._descriptor: int | None = None
        self._descriptor = lock(folder, fcntl.LOCK_SH)

    def release(self) -> None:
        """The version may leave."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


class VersionCache:
    """Versions in `folder`, of at most `max_bytes` beside those that are in use."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes

    def lease(self, name: str, version: int) -> Lease:
        """Keep a version, whose folder is made where it is not there yet; it counts as used now."""
        folder = self.folder / name / str(version)
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # it left between the two
                lease = Lease(folder)
                os.utime(folder)
                return lease

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where it is not there."""
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Keep a file. Its folder must be there."""
        replace_file(self.folder / path, content)

    def trim(self) -> None:
        """Let the least recently used versions leave until the others fit."""
        with self._exclusively():
            self._finish_leaving()
            versions = sorted(self._versions(), key=lambda folder: folder.stat().st_mtime)
            sizes = {folder: _size(folder) for folder in versions}
            excess = sum(sizes.values()) - self._max_bytes
            for folder in versions:
                if excess > 0 and self._remove(folder):
                    excess -= sizes[folder]

    def _finish_leaving(self) -> None:
        """Remove what was leaving when a process was killed: others leave under the same lock."""
        for left in self.folder.glob(f"{_LEAVING}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _versions(self) -> list[Path]:
        return [path for path in self.folder.glob("*/*") if path.is_dir() and path.name.isdecimal()]

    def _remove(self, folder: Path) -> bool:
        """Whether it was not in use, and has left."""
        try:
            descriptor = lock(folder)
        except BlockingIOError:
            return False
        try:
            leaving = Path(tempfile.mkdtemp(prefix=".leaving.", dir=self.folder))
            folder.rename(leaving / folder.name)
            shutil.rmtree(leaving, ignore_errors=True)
        finally:
            os.close(descriptor)
        return True

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        descriptor = lock(self.folder, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)


def _size(folder: Path) -> int:
    """Bytes of its files. Other processes write there: what they have just renamed is listed, and there no more."""
    size = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size
