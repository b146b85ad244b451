"""What a message says of an error that is its cause."""


def in_words(error: BaseException) -> str:
    """The message of an error; that of the operating system as its file and its words, without the number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def reason_of(error: BaseException) -> str:
    """The same without the file, for messages that name it, or must not show it."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
