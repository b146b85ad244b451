"""How the process keeps the memory of its forward passes: glibc's allocator, told before it has much to do."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""

SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": (M_TRIM_THRESHOLD, 2**30),
    "MALLOC_MMAP_THRESHOLD_": (M_MMAP_THRESHOLD, 2**30),
    "MALLOC_ARENA_MAX": (M_ARENA_MAX, 1),
}
"""The environment variable that takes precedence, the parameter, and its value."""


def configure_allocator() -> None:
    """Have passes reuse memory; where the C library is not glibc, nothing happens.

    By default their activations are given back to the kernel, and the page faults of the next pass cost up to a third
    of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for variable, (parameter, value) in SETTINGS.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(parameter, value)


def trim_heap() -> None:
    """Give the kernel what is kept and not in use, after work that was larger than usual."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
