"""Watches the model stores, and keeps the registry at what they promote: whole versions are loaded and swapped."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic

from model_store import ModelStore, StoreError, describe_ignored_entries
from model_store.allocator import trim_heap
from model_store.error_messages import in_words
from service.engine.pool_loader import PoolLoader
from service.engine.residency import Residency
from service.engine.resident_model import ResidentModel
from service.errors import DeviceLost
from service.models.ignored_entries import IgnoredEntries
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.models.store_thread import in_store_thread
from service.models.watched_store import Version, WatchedStore
from service.telemetry.metrics import Metrics

SLOW_SECONDS = 2.0
"""After how long the models of other stores are no longer held up by one that is slow to answer."""

logger = logging.getLogger(__name__)


class StoreWatcher:
    """Loads what several stores promote. A model of a later store hides one of the same name in an earlier one."""

    def __init__(
        self,
        stores: Sequence[ModelStore],
        loader: PoolLoader,
        residency: Residency,
        models: ModelRegistry,
        metrics: Metrics,
        poll_seconds: float,
    ) -> None:
        self._stores = [WatchedStore(store, poll_seconds) for store in stores]
        self._by_root = {store.root: store for store in stores}
        self._ignored = {store.location: IgnoredEntries(store) for store in stores}
        self._loader = loader
        self._residency = residency
        self._models = models
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._refreshing = asyncio.Lock()
        self._reads: dict[int, asyncio.Task[None]] = {}
        """Of stores that have not answered yet, by their places in the list."""
        self._missing: set[tuple[str, bool]] = set()
        """Stores that the log has called missing, and whether they had been asked by then."""

    def warnings(self) -> list[str]:
        """What an operator should mend, though everything that was loaded is still served."""
        missing = [watched.warning for watched in self._stores if watched.warning is not None]
        ignored = {place: entries.names for place, entries in self._ignored.items() if entries.names}
        return missing + [f"in the store {place} {describe_ignored_entries(names)}" for place, names in ignored.items()]

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
            await self._refresh(retry)

    async def _refresh(self, retry: bool) -> None:
        await self._read_stores(wait=retry)
        self._tell_missing()
        silent = [watched for watched in self._stores if watched.silent]
        promoted = {name: version for watched in self._stores for name, version in watched.last.items()}
        for name in {model.name for model in self._models.all()} - promoted.keys():
            old = self._models.served(name)
            self._models.withdraw(name)
            self._forget(old)
        self._models.failures.keep(promoted.keys())
        due = [version for version in promoted.values() if self._is_due(version)]
        if due:
            await self._load_all(due)
            await asyncio.to_thread(trim_heap)  # warming up takes more memory than serving
        self._note_known(silent)

    def _note_known(self, silent: Sequence[WatchedStore]) -> None:
        """Say what is known of the models: all of them, or those of the stores that have answered.

        `silent`: stores whose models were not loaded. One that has answered since is read before anything is said.
        """
        unread = next((watched.unread for watched in self._stores if watched.unread is not None), None)
        if not silent:
            self._models.note_known(f"a model store could not be read yet: {unread}" if unread is not None else None)
        elif all(watched.silent for watched in silent):
            self._models.note_silence(f"the model store {silent[0].store.location} has not answered yet")

    async def _read_stores(self, *, wait: bool) -> None:
        """Read all at the same time. One that is slow is waited for only if wanted (`wait`), and then asked at once."""
        if wait and self._reads:
            await asyncio.wait(self._reads.values())
        reads = {place: self._read_of(place, retry=wait) for place in range(len(self._stores))}
        done, _ = await asyncio.wait(reads.values(), timeout=None if wait else SLOW_SECONDS)
        self._reads = {place: read for place, read in reads.items() if read not in done}
        self._note_slowness()
        failures = [failure for read in done if (failure := read.exception()) is not None]
        if failures:
            raise failures[0]

    def _note_slowness(self) -> None:
        for watched in map(self._stores.__getitem__, self._reads):
            watched.note_slowness()
            if watched.silent:
                self._metrics.store_available.labels(watched.store.location).set(0)

    def _read_of(self, place: int, *, retry: bool) -> asyncio.Task[None]:
        """The read of a store that is under way, or a new one."""
        read = partial(self._read_store, self._stores[place], retry)
        return self._reads.get(place) or asyncio.create_task(in_store_thread(read))

    def _read_store(self, watched: WatchedStore, retry: bool) -> None:
        place, entries = watched.store.location, self._ignored[watched.store.location]
        watched.promoted(retry=retry)
        self._metrics.store_available.labels(place).set(not watched.missing)
        entries.read()
        self._metrics.store_ignored_entries.labels(place).set(len(entries.names))

    def _tell_missing(self) -> None:
        """Log which stores are missing, and which are there again, once each."""
        warned = [(watched, warning) for watched in self._stores if (warning := watched.warning) is not None]
        found = {(watched.store.location, not watched.silent): warning for watched, warning in warned}
        for each in found.keys() - self._missing:
            logger.warning("%s", found[each])
        for place in {place for place, _ in self._missing} - {place for place, _ in found}:
            logger.warning("the store %s is there again", place)
        self._missing = set(found)

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
        except Exception as error:  # noqa: BLE001 # of whatever kind, the old version goes on
            self._note_failure(version, error)
            return
        old = self._models.served(version.name)
        self._models.serve(model)
        self._forget(old)
        seconds = monotonic() - began
        self._metrics.model_loads.labels(version.name, "ok").inc()
        self._metrics.model_load_duration.labels(version.name).observe(seconds)
        logger.info("serving %s (%s) after %.1f s", model.label, model.manifest.digest, seconds)

    def _note_failure(self, version: Version, error: Exception) -> None:
        self._models.failures.record(version, error)
        self._metrics.model_loads.labels(version.name, "failed").inc()
        told = (version.label, self._by_root[version.root].location, in_words(error))
        logger.error("cannot serve %s from %s: %s", *told, exc_info=None if isinstance(error, StoreError) else error)

    async def _load_version(self, version: Version) -> ServedModel:
        """Read the files in a thread; verify and warm up beside the batches."""
        store = self._by_root[version.root]
        number = version.number
        lease = None if number is None else await in_store_thread(partial(store.lease, version.name, number))
        stored = await asyncio.to_thread(store.load, version.name, version.number)
        loaded = await asyncio.wrap_future(self._loader.submit(stored))
        resident = ResidentModel(
            stored.manifest.label,
            loaded,
            lambda: self._loader.load(store.load(version.name, version.number)),
            self._loader.pool,
        )
        preview = await asyncio.to_thread(store.preview, version.name, version.number)
        await self._residency.add(resident)  # last: what fails is not served, and nobody would forget it
        return ServedModel(stored.manifest, resident, version, has_preview=preview is not None, lease=lease)

    def _forget(self, model: ServedModel | None) -> None:
        """A version is served no more; its weights go when nobody uses them."""
        if model is not None and isinstance(model.loaded, ResidentModel):
            self._residency.forget(model.loaded)
