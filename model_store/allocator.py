"""Settings of glibc's allocator that keep the memory of one forward pass for the next."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""

SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": (M_TRIM_THRESHOLD, 2**30),
    "MALLOC_MMAP_THRESHOLD_": (M_MMAP_THRESHOLD, 2**30),
    "MALLOC_ARENA_MAX": (M_ARENA_MAX, 1),
}
"""For each setting: glibc's environment variable, which takes precedence, the parameter of mallopt, and its value."""


def configure_allocator() -> None:
    """Let forward passes reuse freed memory. Call it at the start of the process; without glibc it does nothing.

    By default glibc returns the activations to the kernel, and the page faults of the next pass cost up to a third of
    its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for variable, (parameter, value) in SETTINGS.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(parameter, value)


def trim_heap() -> None:
    """Return unused memory to the kernel, for use after unusually large work. Without glibc it does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
