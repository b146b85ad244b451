"""`pastiche-serve`: handles SIGTERM and Ctrl-C before the slow imports begin."""

import os
import signal
import sys

from model_store.standard_streams import open_closed_streams
from service.stop_signals import stop_signals


def main() -> int:
    """Serve with the settings of the command line and the environment. The exit status is 0 after a requested stop.

    What the service needs takes seconds to import, and the first process of a container ignores signals for which it
    has no handler.
    """
    open_closed_streams()
    for number in stop_signals():
        signal.signal(number, lambda _number, _frame: os._exit(0))
    from service.command import main as serve  # noqa: PLC0415 # the import takes seconds

    return serve()


if __name__ == "__main__":
    sys.exit(main())
