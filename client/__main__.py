"""The command `pastiche`, also `python -m client`: Ctrl-C ends it in one line from its first moment on."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 130 after Ctrl-C, else that of the command."""
    _open_closed_streams()
    try:
        from client.main import main as run  # noqa: PLC0415 # the import takes a moment

        return run(arguments)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _open_closed_streams() -> None:
    """As `model_store.standard_streams`, which is not imported here."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 # for as long as the process runs
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


if __name__ == "__main__":
    sys.exit(main())
