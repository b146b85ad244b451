"""Functions for workers, which import this module and no torch."""

import os
import resource
import signal
import sys
import time
from pathlib import Path

from service.errors import InvalidRequest

HOURS = 10_000.0


def die_once(marker: Path) -> int:
    if marker.exists():
        return os.getpid()
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def touch_and_sleep(marker: Path) -> None:
    marker.touch()
    time.sleep(HOURS)


def refuse() -> None:
    raise InvalidRequest("no", param="size")


def loaded() -> set[str]:
    """The modules of the worker."""
    return set(sys.modules)


def touch_and_wait_for(marker: Path, other: Path) -> None:
    marker.touch()
    while not other.exists():
        time.sleep(0.001)


def make_beyond_limit(size: int) -> bytes:
    """More bytes than the files of the worker may have from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return bytes(2 * size)
