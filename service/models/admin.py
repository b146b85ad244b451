"""What an operator may ask of the models by HTTP: promote, roll back, reload. Only what can be served is promoted."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import model_store
from model_store import ModelStore, ReadOnlyStore, StoreAway, StoreError
from model_store.error_messages import in_words
from service.errors import StoreUnwritable, UnknownModel, UnknownVersion, VersionRefused
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.models.store_watcher import StoreWatcher

Change = Callable[[ModelStore], object]
"""Makes another version of a model current."""


class ModelAdmin:
    """Changes which version is current, in the store that a model is served from: the last that has it."""

    def __init__(self, stores: Sequence[ModelStore], models: ModelRegistry, watcher: StoreWatcher) -> None:
        self._stores = stores
        self._models = models
        self._watcher = watcher
        self._changing = asyncio.Lock()

    async def promote(self, name: str, version: int) -> ServedModel:
        """The version, which is served from now on; requests in flight keep the one that they began with.

        A version that cannot be served is not promoted. Raises UnknownModel, UnknownVersion, StoreUnwritable,
        VersionRefused with the reason.
        """
        return await self._change(name, lambda store: store.promote(name, version))

    async def rollback(self, name: str) -> ServedModel:
        """The version before the current one, which is served from now on. Raises as `promote`."""
        return await self._change(name, lambda store: store.rollback(name))

    async def reload(self) -> None:
        """Read the stores now, and try again what could not be loaded."""
        await self._watcher.refresh(retry=True)

    async def _change(self, name: str, change: Change) -> ServedModel:
        async with self._changing:
            store = await asyncio.to_thread(self._find_store, name)
            before = await asyncio.to_thread(_current, store, name)
            await asyncio.to_thread(_write, store, name, change)
            await self._watcher.refresh(retry=True)
            failure = self._models.failures.find(name)
            if failure is None:
                return self._models.find(name)
            undone = await self._undo(store, name, before)
            raise VersionRefused(f"{failure.version.label} cannot be served: {failure.reason}; {undone}")

    async def _undo(self, store: ModelStore, name: str, before: int | None) -> str:
        """Make the version current that was so before; returns what the store has now."""
        if before is None:
            return "the store names it all the same, as it named no version before; promote another one"
        await asyncio.to_thread(_write, store, name, lambda store: store.promote(name, before))
        await self._watcher.refresh(retry=True)
        return "nothing was changed"

    def _find_store(self, name: str) -> ModelStore:
        try:
            for store in reversed(self._stores):
                if store.versions(name):
                    return store
            names = sorted({known for store in self._stores for known in store.names()})
        except (StoreError, OSError) as error:
            raise StoreUnwritable(in_words(error)) from error
        raise UnknownModel(f"no model is named {name!r}; there are: {', '.join(names) or 'none'}", available=names)


def _current(store: ModelStore, name: str) -> int | None:
    with suppress(StoreError):
        return store.current(name)
    return None


def _write(store: ModelStore, name: str, change: Change) -> None:
    try:
        change(store)
    except model_store.UnknownModel as error:
        raise UnknownVersion(f"{error}", available=store.versions(name)) from error
    except (ReadOnlyStore, StoreAway) as error:
        raise StoreUnwritable(f"the store of {name} cannot be written: {error}") from error
    except StoreError as error:
        raise VersionRefused(f"{error}") from error
    except OSError as error:
        raise StoreUnwritable(f"the store of {name} cannot be written: {error.strerror}") from error
