"""`pastiche-keys`, also `python -m service.http.access`: Ctrl-C ends it in one line from its first moment on."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 130 after Ctrl-C, else that of the command."""
    try:
        from service.http.access.main import main as run  # noqa: PLC0415 # the import takes a moment

        return run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
