"""Errors of a model store; every message names the model."""


def in_words(error: BaseException) -> str:
    """The message of an error; that of the operating system as its file and its words, without the number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def reason_of(error: BaseException) -> str:
    """The same without the file, for messages that name it, or must not show it."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


class StoreError(Exception):
    """Any failure of a model store."""


class UnknownModel(StoreError):
    """The store has no such model or version."""


class CorruptModel(StoreError):
    """The files of a version are damaged or contradict its manifest."""


class GoldenMismatch(StoreError):
    """A network does not reproduce its recorded output on this device."""


class MissingExtra(StoreError):
    """A network needs a library that is not installed."""


class UnknownCheckpoint(StoreError):
    """A file holds no network that can be imported."""


class ExportFailed(StoreError):
    """A network cannot be written in a format, or what was written would not compute the same."""


class StoreAway(StoreError):
    """A store at a URL cannot be reached, or does not answer as it should."""


class ReadOnlyStore(StoreError):
    """A store at a URL that cannot be written safely."""


class WriteConflict(StoreError):
    """Another publisher has written a file first."""
