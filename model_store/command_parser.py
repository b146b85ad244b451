"""Command lines whose messages show no passwords: a shell's history is one's own, a log is read by others."""

import re
from argparse import ArgumentParser
from typing import NoReturn

_CREDENTIALS = re.compile(r"(:/+)[^\s'\"]*@")


def without_passwords(text: str) -> str:
    """The text with … for what stands before the hosts of its URLs."""
    return _CREDENTIALS.sub(r"\1…@", text)


class CommandParser(ArgumentParser):
    """A parser, also of commands below it, that repeats what it does not understand without passwords."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser."""
        super().error(without_passwords(message))
