"""Promoted versions that could not be loaded, and when each is tried again."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic

from model_store import StoreError
from service.models.watched_store import Version

LONGEST_RETRY = 300.0
"""The most seconds between attempts to load a version that keeps failing."""


@dataclass(frozen=True)
class LoadFailure:
    """Why a promoted version is not served, and when it is tried again."""

    version: Version
    reason: str
    at: datetime
    attempts: int
    retry_at: float
    """A time of `time.monotonic`."""


class LoadFailures:
    """The failures by the name of the model; each attempt waits twice as long as the one before."""

    def __init__(self, first_retry: float) -> None:
        """`first_retry`: half of the seconds until the second attempt."""
        self._first_retry = first_retry
        self._failures: dict[str, LoadFailure] = {}

    def all(self) -> list[LoadFailure]:
        """Every failure, by name."""
        return [self._failures[name] for name in sorted(self._failures)]

    def find(self, name: str) -> LoadFailure | None:
        """Why the promoted version of a model is not served; None where it is."""
        return self._failures.get(name)

    def record(self, version: Version, error: Exception) -> None:
        """An attempt to load a version has failed."""
        earlier = self._failures.get(version.name)
        attempts = earlier.attempts + 1 if earlier and earlier.version == version else 1
        reason = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}; the log has the details"
        wait = min(self._first_retry * 2**attempts, LONGEST_RETRY)
        self._failures[version.name] = LoadFailure(version, reason, datetime.now(UTC), attempts, monotonic() + wait)

    def must_wait(self, version: Version) -> bool | None:
        """Whether it is too early for another attempt at a version; None where it has not failed."""
        failure = self._failures.get(version.name)
        if failure is None or failure.version != version:
            return None
        return monotonic() < failure.retry_at

    def forget(self, name: str) -> None:
        """The promoted version of a model is served."""
        self._failures.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Forget the models that are no longer promoted."""
        self._failures = {name: failure for name, failure in self._failures.items() if name in names}

    def retry_now(self) -> None:
        """Nothing has to wait any longer."""
        self._failures = {name: replace(failure, retry_at=0.0) for name, failure in self._failures.items()}
