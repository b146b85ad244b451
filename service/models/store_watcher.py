"""Watches the model stores, and keeps the registry at what they promote: whole versions are loaded and swapped."""

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic

from model_store import ModelStore, describe_ignored_entries
from model_store.allocator import trim_heap
from service.engine.model_loader import ModelLoader
from service.engine.residency import Residency
from service.engine.resident_model import ResidentModel
from service.errors import DeviceLost
from service.models.ignored_entries import IgnoredEntries
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.models.watched_store import Version, WatchedStore
from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class StoreWatcher:
    """Loads what several stores promote. A model of a later store hides one of the same name in an earlier one."""

    def __init__(
        self,
        stores: Sequence[ModelStore],
        loader: ModelLoader,
        residency: Residency,
        models: ModelRegistry,
        metrics: Metrics,
        poll_seconds: float,
    ) -> None:
        self._stores = [WatchedStore(store) for store in stores]
        self._ignored = {store.root: IgnoredEntries(store) for store in stores}
        self._loader = loader
        self._residency = residency
        self._models = models
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._refreshing = asyncio.Lock()

    def warnings(self) -> list[str]:
        """What an operator should mend, though everything that was loaded is still served."""
        missing = [
            f"the store {store.root} is missing; its models stay loaded" for store in self._stores if store.missing
        ]
        ignored = {root: entries.names for root, entries in self._ignored.items() if entries.names}
        return missing + [f"in the store {root} {describe_ignored_entries(names)}" for root, names in ignored.items()]

    async def watch(self) -> None:
        """Serve what the stores promote, until cancelled. Ends by itself only with DeviceLost."""
        while True:
            try:
                await self.refresh()
            except DeviceLost:
                raise
            except Exception as error:
                if self._models.trouble is not None:
                    reason = f"{type(error).__name__}; the log has the details"
                    self._models.trouble = f"the model stores cannot be read: {reason}"
                logger.exception("the model stores cannot be read; what was served goes on")
            await asyncio.sleep(self._poll_seconds)

    async def refresh(self, *, retry: bool = False) -> None:
        """Read the stores once: load what is newly promoted, drop what is gone.

        `retry`: try again at once what could not be loaded.
        """
        async with self._refreshing:
            if retry:
                self._models.failures.retry_now()
            await self._refresh()

    async def _refresh(self) -> None:
        promoted = await asyncio.to_thread(self._read_stores)
        for name in {model.name for model in self._models.all()} - promoted.keys():
            old = self._models.served(name)
            self._models.withdraw(name)
            self._forget(old)
        self._models.failures.keep(promoted.keys())
        due = [version for version in promoted.values() if self._is_due(version)]
        if due:
            await self._load_all(due)
            await asyncio.to_thread(trim_heap)  # warming up takes more memory than serving
        self._models.note_known()

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
        must_wait = self._models.failures.must_wait(version)
        if must_wait is not None:
            return not must_wait
        served = self._models.served(version.name)
        if served is not None and served.source == version:
            self._models.failures.forget(version.name)  # rolled back to, after a newer one failed
            return False
        return True

    async def _load_all(self, versions: Sequence[Version]) -> None:
        began = monotonic()
        for position, version in enumerate(versions, 1):
            logger.info("loading %s, %d of %d", version.label, position, len(versions))
            await self._load(version)
        loaded = sum(self._models.failures.find(version.name) is None for version in versions)
        logger.info("%d of %d models were loaded in %.1f s", loaded, len(versions), monotonic() - began)

    async def _load(self, version: Version) -> None:
        began = monotonic()
        try:
            model = await self._load_version(version)
        except DeviceLost:
            raise
        except Exception as error:
            self._models.failures.record(version, error)
            self._metrics.model_loads.labels(version.name, "failed").inc()
            # of whatever kind, the old version goes on
            logger.exception("cannot serve %s from %s", version.label, version.root)
            return
        old = self._models.served(version.name)
        self._models.serve(model)
        self._forget(old)
        seconds = monotonic() - began
        self._metrics.model_loads.labels(version.name, "ok").inc()
        self._metrics.model_load_duration.labels(version.name).observe(seconds)
        logger.info("serving %s (%s) after %.1f s", model.label, model.manifest.digest, seconds)

    async def _load_version(self, version: Version) -> ServedModel:
        """Read the files in a thread; verify and warm up beside the batches."""
        store = ModelStore(version.root)
        stored = await asyncio.to_thread(store.load, version.name, version.number)
        loaded = await asyncio.wrap_future(self._loader.submit(stored))
        resident = ResidentModel(
            stored.manifest.label,
            loaded,
            lambda: self._loader.load(store.load(version.name, version.number)),
            self._loader.runner,
        )
        await self._residency.add(resident)
        preview = await asyncio.to_thread(store.preview, version.name, version.number)
        return ServedModel(stored.manifest, resident, version, has_preview=preview is not None)

    def _forget(self, model: ServedModel | None) -> None:
        """A version is served no more; its weights go when nobody uses them."""
        if model is not None and isinstance(model.loaded, ResidentModel):
            self._residency.forget(model.loaded)
