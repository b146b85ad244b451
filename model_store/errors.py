"""What can go wrong between a store and its reader; every message names the model."""


class StoreError(Exception):
    """Any failure of a model store."""


class UnknownModel(StoreError):
    """The store has no such model or version."""


class CorruptModel(StoreError):
    """A version's files are not what its manifest says."""


class GoldenMismatch(StoreError):
    """A network does not give its recorded output here."""
