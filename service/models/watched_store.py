"""A model store whose folder may vanish for a while, as when its volume is unmounted."""

from dataclasses import dataclass
from pathlib import Path

from model_store import ModelStore, StoreError


@dataclass(frozen=True)
class Version:
    """The version of a model that a store has promoted."""

    root: Path
    """The store's folder."""
    name: str
    number: int | None
    """None where the store cannot tell; loading it then fails with the reason."""

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.number or '?'}"


class WatchedStore:
    """Reads which versions a store promotes, and tells a store that has vanished from one that was emptied."""

    def __init__(self, store: ModelStore) -> None:
        self.root = store.root
        self.missing = False
        """Whether the folder that had models is gone, or another one without models is in its place."""
        self._store = store
        self._identity: tuple[int, int] | None = None
        """Device and inode of the folder when it last had models."""
        self._last: dict[str, Version] = {}

    def promoted(self) -> dict[str, Version]:
        """The promoted version of each model, by name; those of the last time while the folder is missing.

        Models that are removed one by one, down to the last, are gone: the folder is still the same then.
        """
        names, identity = self._store.names(), _identity(self.root)
        self.missing = not names and self._identity is not None and identity != self._identity
        if not self.missing:
            self._identity = identity if names else self._identity
            self._last = {name: Version(self.root, name, _current(self._store, name)) for name in names}
        return self._last


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _current(store: ModelStore, name: str) -> int | None:
    try:
        return store.current(name)
    except (StoreError, OSError):
        return None
