"""python -m trainer, also installed as pastiche-train: runs one command."""

import logging
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from model_store import StoreError
from model_store.allocator import configure_allocator
from trainer.command_line import explain, parse
from trainer.errors import Interrupted, TrainerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and print what it says.

    Returns 0 on success, 1 with `error: …` on stderr, 130 when interrupted. Exits with 2 for a wrong command line.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        command = parse(arguments)
        configure_allocator()
        printed = command.execute()
        if printed:
            print(printed)
    except (Interrupted, KeyboardInterrupt) as error:
        print(str(error) or "interrupted", file=sys.stderr)
        return 130
    except (TrainerError, StoreError, ValidationError, OSError) as error:
        print(f"error: {explain(error) if isinstance(error, ValidationError) else error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
