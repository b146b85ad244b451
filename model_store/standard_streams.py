"""The standard streams of a command."""

import io
import os
import sys
from pathlib import Path

MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}
"""In the order of their descriptors: the next file that is opened gets the lowest that is free."""


def open_closed_streams() -> None:
    """Streams that are closed, as by `2>&-`, become /dev/null.

    Python has None for them, which much cannot be written to, and connections would get their descriptors.
    """
    for name, mode in MODES.items():
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 # for as long as the process runs
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def escape_unwritable() -> None:
    """Let stdout escape what its encoding has no bytes for, names of files for one, where that would end a command."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
