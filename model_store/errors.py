"""Errors of a model store; every message names the model."""


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
