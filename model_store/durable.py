"""Atomic, durable writes: after a crash or a power failure a file or folder is complete or unchanged."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_ABANDONED_SECONDS = 3600
"""Age from which a temporary file counts as left behind by a writer that was killed."""

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Create `folder` with these files, by name: write a temporary sibling, sync it, rename it.

    Raises OSError, and leaves nothing behind, if it cannot be written or exists already.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sync_folder(folder.parent.parent)
    _remove_abandoned(folder.parent)
    create_folder(folder, files)


def create_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """The same in a folder that exists and is not ours: whatever else lies there is left alone."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        for name, content in files.items():
            _write_synced(temporary / name, content)
        _sync_folder(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(folder.parent)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` atomically: write a temporary sibling, sync it, rename it. On an error the old file remains."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        _write_synced(temporary, content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _write_synced(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove_abandoned(folder: Path) -> None:
    """Remove old temporary files and folders, which killed writers have left behind."""
    for entry in (entry for entry in folder.iterdir() if _TEMPORARY.fullmatch(entry.name)):
        with suppress(OSError):  # another writer may rename or remove it meanwhile
            if time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
