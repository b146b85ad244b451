"""Temporary siblings of files and folders: locked while they are written, removed where their writer was killed."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_store.locks import lock

_OLD_SECONDS = 3600
"""Age from which a temporary file counts as abandoned, whatever its target, and whoever has it."""

_ENDING = r"\.[a-z0-9_]{8}"
"""What `tempfile` adds to a name."""


@contextmanager
def temporary_file(target: Path) -> Iterator[Path]:
    """A new file beside `target`, which the block writes and renames to it. It is removed where the block fails.

    First those of killed writers of `target` are removed. A writer that lives keeps its own.
    """
    with _temporary(target, _make_file) as path:
        yield path


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """The same of a folder."""
    with _temporary(target, _make_folder) as path:
        yield path


def remove_old(folder: Path) -> None:
    """Remove the temporary files and folders of all targets that are older than an hour."""
    for entry in (entry for entry in folder.iterdir() if re.fullmatch(rf"\..+{_ENDING}", entry.name)):
        with suppress(OSError):  # another writer may rename or remove it meanwhile
            if time.time() - entry.stat().st_mtime > _OLD_SECONDS:
                _remove(entry)


@contextmanager
def _temporary(target: Path, make: Callable[[Path], Path]) -> Iterator[Path]:
    _remove_abandoned(target)
    path, descriptor = _make_locked(target, make)
    try:
        yield path
    except BaseException:
        with suppress(OSError):
            _remove(path)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _remove_abandoned(target: Path) -> None:
    """Remove the temporary files and folders of `target` that nobody is writing."""
    pattern = re.compile(rf"\.{re.escape(target.name)}{_ENDING}")
    for path in (path for path in target.parent.iterdir() if pattern.fullmatch(path.name)):
        with suppress(OSError):  # its writer has the lock, or has just renamed or removed it
            descriptor = lock(path)
            try:
                _remove(path)
            finally:
                os.close(descriptor)


def _make_locked(target: Path, make: Callable[[Path], Path]) -> tuple[Path, int | None]:
    """A new temporary with its lock; without one on file systems that have none, where nobody removes it either."""
    while True:
        path = make(target)
        try:
            return path, lock(path)
        except (BlockingIOError, FileNotFoundError):
            continue  # another writer took it for an abandoned one before it was locked
        except OSError:
            return path, None


def _make_file(target: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(descriptor)
    return Path(name)


def _make_folder(target: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
