"""The model registry: which version of each model is loaded. It follows the stores and swaps whole versions."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic

from model_store import ModelStore, StoreError, describe_foreign
from model_store.allocator import trim_heap
from service.engine.model_loader import ModelLoader
from service.errors import DeviceLost, ModelUnavailable
from service.models.ignored_entries import IgnoredEntries
from service.models.selection import ModelSelection
from service.models.served_model import ServedModel
from service.models.watched_store import Version, WatchedStore
from service.telemetry.metrics import Metrics

LONGEST_RETRY = 300.0
"""The most seconds between attempts to load a version that keeps failing."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadFailure:
    """Why a promoted version is not served, and when it is tried again."""

    version: Version
    reason: str
    at: datetime
    attempts: int
    retry_at: float
    """A time of `time.monotonic`."""


class ModelRegistry(ModelSelection):
    """The models of several stores. A model of a later store hides one of the same name in an earlier one."""

    def __init__(
        self, stores: Sequence[ModelStore], loader: ModelLoader, metrics: Metrics, poll_seconds: float
    ) -> None:
        self._stores = [WatchedStore(store) for store in stores]
        self._ignored = {store.root: IgnoredEntries(store) for store in stores}
        self._loader = loader
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._served: dict[str, ServedModel] = {}
        self._failures: dict[str, LoadFailure] = {}
        self._trouble: str | None = "the models are being loaded"
        self._refreshing = asyncio.Lock()
        self.known = asyncio.Event()
        """Set when the stores were read, and what they promote was loaded, for the first time."""

    @property
    def trouble(self) -> str | None:
        """Why the stores have not been read yet; None once they were."""
        return self._trouble

    def warnings(self) -> list[str]:
        """What an operator should mend, though everything that was loaded is still served."""
        missing = [
            f"the store {store.root} is missing; its models stay loaded" for store in self._stores if store.missing
        ]
        ignored = {root: entries.names for root, entries in self._ignored.items() if entries.names}
        return missing + [f"in the store {root} {describe_foreign(names)}" for root, names in ignored.items()]

    def all(self) -> list[ServedModel]:
        """Every served model, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def failures(self) -> list[LoadFailure]:
        """The promoted versions that could not be loaded, by name."""
        return [self._failures[name] for name in sorted(self._failures)]

    def failure(self, name: str) -> LoadFailure | None:
        """Why the promoted version of a model is not served; None where it is."""
        return self._failures.get(name)

    async def follow(self) -> None:
        """Serve what the stores promote, until cancelled. Ends by itself only with DeviceLost."""
        while True:
            try:
                await self.refresh()
            except DeviceLost:
                raise
            except Exception as error:
                if self._trouble is not None:
                    self._trouble = f"the model stores cannot be read: {type(error).__name__}; the log has the details"
                logger.exception("the model stores cannot be read; what was served goes on")
            await asyncio.sleep(self._poll_seconds)

    async def refresh(self, *, retry: bool = False) -> None:
        """Read the stores once: load what is newly promoted, drop what is gone.

        `retry`: try again at once what could not be loaded.
        """
        async with self._refreshing:
            if retry:
                self._failures = {name: replace(each, retry_at=0.0) for name, each in self._failures.items()}
            await self._refresh()

    async def _refresh(self) -> None:
        promoted = await asyncio.to_thread(self._read_stores)
        for name in self._served.keys() - promoted.keys():
            self._swap(name, None)
        self._failures = {name: failure for name, failure in self._failures.items() if name in promoted}
        due = [version for version in promoted.values() if self._is_due(version)]
        if due:
            await self._load_all(due)
            await asyncio.to_thread(trim_heap)  # warming up takes more memory than serving
        self._trouble = None
        self.known.set()

    async def _load_all(self, versions: Sequence[Version]) -> None:
        began = monotonic()
        for position, version in enumerate(versions, 1):
            logger.info("loading %s, %d of %d", version.label, position, len(versions))
            await self._load(version)
        loaded = sum(version.name not in self._failures for version in versions)
        logger.info("%d of %d models were loaded in %.1f s", loaded, len(versions), monotonic() - began)

    def explain_absence(self, name: str | None = None) -> None:
        """See `ModelSelection`: its newest version could not be loaded, or the stores have not been read yet."""
        if name is not None and name in self._failures and name not in self._served:
            raise ModelUnavailable(f"{name} could not be loaded: {self._failures[name].reason}")
        self._require_known()

    def _require_known(self) -> None:
        if self._trouble is not None:
            detail = f"{self._trouble}; /readyz says when that is over"
            raise ModelUnavailable(detail, retry_after=1)

    def _read_stores(self) -> dict[str, Version]:
        promoted: dict[str, Version] = {}
        for store in self._stores:
            promoted |= store.promoted()
            self._metrics.store_available.labels(str(store.root)).set(not store.missing)
        for root, entries in self._ignored.items():
            entries.read()
            self._metrics.store_ignored_entries.labels(str(root)).set(len(entries.names))
        return promoted

    def _is_due(self, version: Version) -> bool:
        served, failure = self._served.get(version.name), self._failures.get(version.name)
        if failure is not None and failure.version == version:
            return monotonic() >= failure.retry_at
        if served is not None and served.source == version:
            self._failures.pop(version.name, None)  # rolled back to, after a newer one failed
            return False
        return True

    async def _load(self, version: Version) -> None:
        began = monotonic()
        try:
            model = await self._load_version(version)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 # of whatever kind, the old version goes on
            self._record_failure(version, error)
            return
        self._failures.pop(version.name, None)
        self._swap(version.name, model)
        self._metrics.model_loads.labels(version.name, "ok").inc()
        seconds = monotonic() - began
        self._metrics.model_load_duration.labels(version.name).observe(seconds)
        logger.info("serving %s (%s) after %.1f s", model.label, model.manifest.digest, seconds)

    async def _load_version(self, version: Version) -> ServedModel:
        """Read the files in a thread; verify and warm up beside the batches."""
        store = ModelStore(version.root)
        stored = await asyncio.to_thread(store.load, version.name, version.number)
        loaded = await asyncio.wrap_future(self._loader.submit(stored))
        preview = await asyncio.to_thread(store.preview, version.name, version.number)
        return ServedModel(stored.manifest, loaded, version, has_preview=preview is not None)

    def _record_failure(self, version: Version, error: Exception) -> None:
        earlier = self._failures.get(version.name)
        attempts = earlier.attempts + 1 if earlier and earlier.version == version else 1
        reason = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}; the log has the details"
        wait = min(self._poll_seconds * 2**attempts, LONGEST_RETRY)
        self._failures[version.name] = LoadFailure(version, reason, datetime.now(UTC), attempts, monotonic() + wait)
        self._metrics.model_loads.labels(version.name, "failed").inc()
        logger.error("cannot serve %s from %s", version.label, version.root, exc_info=error)

    def _swap(self, name: str, model: ServedModel | None) -> None:
        old = self._served.pop(name, None)
        if old is not None:
            self._metrics.model.remove(*_model_labels(old))
        if model is not None:
            self._served[name] = model
            self._metrics.model.labels(*_model_labels(model)).set(1)


def _model_labels(model: ServedModel) -> tuple[str, ...]:
    manifest = model.manifest
    return model.name, str(manifest.version), manifest.digest, manifest.task, str(model.scale)
