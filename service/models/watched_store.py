"""A model store that may vanish for a while, as when its volume is unmounted or its bucket cannot be reached.

So may one that is there and cannot be read, as by another user, or on a disk that fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from model_store import ModelStore, StoreAway, StoreError
from model_store.error_messages import reason_of

LONGEST_PAUSE = 60.0
"""The most seconds between attempts to read a store that does not answer."""


@dataclass(frozen=True)
class Version:
    """The version of a model that a store has promoted."""

    root: Path
    """The store's folder, or that of the cache of a store at a URL."""
    name: str
    number: int | None
    """None where the store cannot tell; loading it then fails with the reason."""

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.number or '?'}"


class WatchedStore:
    """Reads which versions a store promotes, and tells a store that has vanished from one that was emptied.

    While a store at a URL does not answer, each attempt waits twice as long as the one before.
    """

    def __init__(self, store: ModelStore, first_pause: float = 1.0, clock: Callable[[], float] = monotonic) -> None:
        """`first_pause`: half of the seconds until a store that does not answer is asked for the second time."""
        self.store = store
        self.missing = False
        """Whether the folder that had models is gone, or another one without models is in its place, or it cannot be
        read, or the store at the URL does not answer."""
        self.asked = False
        """Whether the store was read, or was found not to answer."""
        self._slow = False
        self.unread: str | None = None
        """Why the store has never been read; None once it was."""
        self.reason = ""
        """Why a store cannot be read, or does not answer."""
        self._first_pause = first_pause
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0
        self._identity: tuple[int, int] | None = None
        """Device and inode of the folder when it last had models."""
        self.last: dict[str, Version] = {}
        """What the store promoted when it was last read."""

    def promoted(self, *, retry: bool = False) -> dict[str, Version]:
        """The promoted version of each model, by name; those of the last time while the store is missing.

        Models that are removed one by one, down to the last, are gone: the folder is still the same then.
        `retry`: ask a store now that did not answer. A folder that cannot be read is looked at each time.
        """
        if retry or self._clock() >= self._retry_at:
            try:
                self.store.refresh()
                self._failures, self.reason = 0, ""
                self._read()
            except StoreAway as error:
                self._failures += 1
                self._retry_at = self._clock() + min(self._first_pause * 2**self._failures, LONGEST_PAUSE)
                self._note_absence(error)
            except OSError as error:
                self._note_absence(error)
        self.asked = True
        return self.last

    def note_slowness(self) -> None:
        """The store takes longer to be read than others are held up by it."""
        self._slow = True

    @property
    def silent(self) -> bool:
        """Whether nothing is known of the store yet, since it neither answers nor refuses."""
        return self._slow and not self.asked

    @property
    def warning(self) -> str | None:
        """What is wrong with the store, and what is served meanwhile; None where nothing is."""
        if self.silent:
            return f"the store {self.store.location} has not answered yet; its models are not served"
        if not self.missing:
            return None
        unread = "could not be read yet; its models are not served"
        served = "is missing; its models stay loaded" if self.unread is None else unread
        return f"the store {self.store.location} {served}" + (f" ({self.reason})" if self.reason else "")

    def _read(self) -> None:
        names, identity = self.store.names(), _identity(self.store.root)
        self.unread = None
        self.missing = not names and self._identity is not None and identity != self._identity
        if not self.missing:
            self._identity = identity if names else self._identity
            self.last = {name: Version(self.store.root, name, _current(self.store, name)) for name in names}

    def _note_absence(self, error: StoreAway | OSError) -> None:
        """Keep what was promoted; at first, what the cache has of an earlier process."""
        self.reason = reason_of(error)
        if not self.last:
            try:
                self._read()
            except (StoreAway, OSError):
                self.unread = self.reason
        self.missing = True


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
