"""What the commands print of an error."""


def in_words(error: Exception) -> str:
    """The message of an error; that of the operating system as its file and its words, without the number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
