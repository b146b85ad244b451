"""Command lines whose messages show no passwords: a shell's history is one's own, a log is read by others."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import NoReturn

from model_store.remote.location import home_expanded

_CREDENTIALS = re.compile(r"(:/+)[^\s'\"]*@")


def without_passwords(text: str) -> str:
    """The text with … for what stands before the hosts of its URLs."""
    return _CREDENTIALS.sub(r"\1…@", text)


def path_argument(text: str) -> Path:
    """The value of an option: a path, with the home folder instead of a ~ (see `home_expanded`).

    Raises ArgumentTypeError where nobody has that name, and for an empty text, as a variable that is not set gives.
    """
    if not text:
        raise ArgumentTypeError("a name is empty; this folder is written .")
    try:
        return home_expanded(Path(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


class CommandParser(ArgumentParser):
    """A parser, also of commands below it, that repeats what it does not understand without passwords."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser."""
        super().error(without_passwords(message))
