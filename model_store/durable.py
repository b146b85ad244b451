"""Atomic, durable writes: after a crash or a power failure a file or folder is complete or unchanged."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from model_store.temporaries import remove_old, temporary_file, temporary_folder


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Create `folder` with these files, by name: write a temporary sibling, sync it, rename it.

    Raises OSError, and leaves nothing behind, if it cannot be written or exists already.
    """
    with made_folder(folder.parent):
        _sync_folder(folder.parent.parent)
        remove_old(folder.parent)
        create_folder(folder, files)


def create_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """The same in a folder that exists and is not ours: whatever else lies there is left alone."""
    with errors_naming(folder):
        with temporary_folder(folder) as temporary:
            temporary.chmod(0o755)
            for name, content in files.items():
                _write_synced(temporary / name, content)
            _sync_folder(temporary)
            temporary.rename(folder)
        _sync_folder(folder.parent)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` atomically: write a temporary sibling, sync it, rename it. On an error the old file remains."""
    with errors_naming(path):
        with temporary_file(path) as temporary:
            _write_synced(temporary, content)
            temporary.chmod(0o644)
            temporary.replace(path)
        _sync_folder(path.parent)


def create_file(path: Path, content: bytes) -> None:
    """Write `path` atomically where there is nothing. Raises OSError, and leaves it alone, where there is by now."""
    with errors_naming(path):
        with temporary_file(path) as temporary:
            _write_synced(temporary, content)
            temporary.chmod(0o644)
            _move_to_free(temporary, path)
        _sync_folder(path.parent)


def _move_to_free(source: Path, path: Path) -> None:
    """Rename a file to a name that nobody has. File systems without links leave an instant in which one could come."""
    try:
        path.hardlink_to(source)
    except OSError:
        if os.path.lexists(path):
            raise
        source.rename(path)
    else:
        source.unlink()


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """The folder, and those above it, for the block: where that fails, those that were not there leave, if empty."""
    missing = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        _remove_empty(missing)
        raise


def try_writing(folder: Path) -> None:
    """Raise OSError where `write_folder` could write nothing into `folder`, which may be missing. Leaves no trace."""
    missing = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with errors_naming(folder), TemporaryDirectory(prefix=".trial.", dir=folder) as trial:
            _write_synced(Path(trial) / "file", b"trial")
    except FileExistsError as error:  # which pathlib says of a file
        raise _os_error(errno.ENOTDIR, folder) from error
    finally:
        _remove_empty(missing)


def try_writing_file(path: Path) -> None:
    """Raise OSError where a file, whose folder may be missing, cannot be written. Leaves no trace, and it as it is."""
    if path.is_dir():
        raise _os_error(errno.EISDIR, path)
    if not path.exists():
        try_writing(path.parent)
    elif not os.access(path, os.W_OK):
        raise _os_error(errno.EACCES, path)


def _os_error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Let an OSError of the block name `path`: that of a full disk names no file, others a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _missing(folder: Path) -> list[Path]:
    """What is not there of a folder and those above it, from the innermost on."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # another writer has it
            folder.rmdir()


def move_file(source: Path, target: Path) -> None:
    """Move a complete file, in place of any other: atomically, and once its content is on the disk."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    _sync_folder(target.parent)


def _write_synced(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
