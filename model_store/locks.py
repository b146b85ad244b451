"""Locks of files and folders, which end with the process that holds them."""

import fcntl
import os
from pathlib import Path

ALONE_OR_NOT = fcntl.LOCK_EX | fcntl.LOCK_NB


def lock(path: Path, operation: int = ALONE_OR_NOT) -> int:
    """A descriptor that locks what is at `path` until it is closed; `operation` is that of flock.

    Raises BlockingIOError where another has the lock and the operation does not wait, FileNotFoundError where nothing
    is at `path`, or something else than was there before it was locked, and OSError where there are no locks.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        fcntl.flock(descriptor, operation)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
