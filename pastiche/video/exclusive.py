"""Holds a folder, so that two processes do not write into it at the same time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_store.locks import lock


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Create a folder, and hold it for the length of the block; it may be removed there.

    Nobody else holds it meanwhile, also no other process. Raises BlockingIOError where somebody does, or OSError.
    """
    descriptor = _hold(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _hold(folder: Path) -> int:
    """A descriptor that holds the folder until it is closed."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # whoever held it before has removed it meanwhile
            return lock(folder)
