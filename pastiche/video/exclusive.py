"""Holds a folder, so that two processes do not write into it at the same time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Create a folder, and hold it for the length of the block; it may be removed there.

    Nobody else holds it meanwhile, also no other process. Raises BlockingIOError where somebody does, or OSError.
    """
    while (descriptor := _hold(folder)) is None:
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def _hold(folder: Path) -> int | None:
    """A descriptor that holds the folder until it is closed; None where the folder was removed meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still_there(folder, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_still_there(folder: Path, descriptor: int) -> bool:
    """Whoever held it before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False
