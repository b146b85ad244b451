"""The command `pastiche-train`: runs one command, and says what went wrong."""

import logging
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from model_store import StoreError
from model_store.allocator import configure_allocator
from model_store.command_parser import without_passwords
from model_store.error_messages import in_words
from trainer.command_line import explain, parse
from trainer.errors import Interrupted, OptionError, TrainerError, lacks_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and print what it says.

    Returns 0 on success, 1 with `error: …` on stderr, 2 with that for a value that an option does not accept, 130 after
    Ctrl-C and 143 after SIGTERM. Exits with 2 for what is no command line.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        command = parse(arguments)
        configure_allocator()
        printed = command.execute()
        if printed:
            print(printed)
    except Interrupted as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except (OptionError, ValidationError) as error:
        return _print_error(explain(error) if isinstance(error, ValidationError) else str(error), 2)
    except (TrainerError, StoreError, OSError) as error:
        return _print_error(in_words(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        less = "smaller images need less, and in a training a smaller --batch or a larger --accumulate"
        return _print_error(f"there is not enough memory; {less}", 1)
    return 0


def _print_error(message: str, status: int) -> int:
    print(f"error: {without_passwords(message)}", file=sys.stderr)
    return status
