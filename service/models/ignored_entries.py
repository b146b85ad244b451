"""Finds entries of a store's folder that are no models, and logs them, so that nobody waits for them to be served."""

import logging

from model_store import ModelStore, StoreError, describe_ignored_entries

logger = logging.getLogger(__name__)


class IgnoredEntries:
    """The entries of a store's folder that are ignored. Each is logged once, as long as it stays."""

    def __init__(self, store: ModelStore) -> None:
        self.names: list[str] = []
        """Those that two reads in a row have found: a folder may be on the way to its first version."""
        self._store = store
        self._last: set[str] = set()

    def read(self) -> None:
        """Look at the folder, and log what is new there."""
        try:
            found = set(self._store.foreign())
        except (StoreError, OSError):  # the store cannot be read, which is told elsewhere
            found = set()
        known, self.names = set(self.names), sorted(found & self._last)
        self._last = found
        new = [name for name in self.names if name not in known]
        if new:
            logger.warning("in the store %s %s", self._store.location, describe_ignored_entries(new))
