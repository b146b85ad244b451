"""What the commands print of an error."""

from pathlib import Path


def in_words(error: Exception, named: Path | None = None) -> str:
    """The message of an error; that of the operating system as its file and its words, without the number.

    `named`: a file that the reader knows already.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename in (None, str(named)) else f"{error.filename}: {error.strerror}"
