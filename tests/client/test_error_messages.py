import errno
from pathlib import Path

from client.error_messages import in_words
from client.errors import NoAnswer


def test_errors_of_the_operating_system_are_told_without_numbers() -> None:
    assert in_words(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert in_words(OSError(errno.EACCES, "Permission denied", "out/a.png")) == "out/a.png: Permission denied"
    assert in_words(OSError(errno.EACCES, "Permission denied", "a.png"), Path("a.png")) == "Permission denied"
    assert in_words(NoAnswer("no answer")) == "no answer"
