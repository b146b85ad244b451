"""The program of one of several serving processes: `python -m service.member MEMBERSHIP OPTION…`."""

import os
import signal
import sys
import threading

from service.command import read_settings
from service.membership import Membership


def main() -> int:
    """Serve as the membership in the first argument says, with the settings of the others. As `service.command`."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))  # the import of what serves takes seconds
    membership = Membership.model_validate_json(sys.argv[1])
    threading.Thread(target=_end_with, args=(membership.lifeline,), daemon=True).start()
    settings = read_settings(sys.argv[2:])
    if settings is None:
        return 2
    from service.server import run  # noqa: PLC0415

    return run(settings, membership)


def _end_with(lifeline: int) -> None:
    """Stop, as after SIGTERM, when the supervisor has ended without having said so."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
