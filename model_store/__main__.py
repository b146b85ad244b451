"""The command `pastiche-models`, also `python -m model_store`: Ctrl-C ends it in one line from its first moment on."""

import sys
from collections.abc import Sequence

from model_store.early_interruption import ended_by_ctrl_c
from model_store.standard_streams import escape_unwritable, open_closed_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 130 after Ctrl-C, else that of the command."""
    open_closed_streams()
    escape_unwritable()
    with ended_by_ctrl_c():
        from model_store.main import main as run  # noqa: PLC0415 # the import takes seconds
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
