"""Opens a store, wherever it is."""

from pathlib import Path

from model_store.remote.location import Location
from model_store.remote.object_storage import ObjectStorage, TransferPolicy
from model_store.remote.remote_store import RemoteStore, cache_name
from model_store.remote.version_cache import CacheSettings, VersionCache
from model_store.store import ModelStore


def open_store(
    location: Location, cache: CacheSettings | None = None, policy: TransferPolicy | None = None
) -> ModelStore:
    """The store in a folder or at a URL; it is not read yet. Raises as `ObjectStorage`."""
    if isinstance(location, Path):
        return ModelStore(location)
    chosen = cache or CacheSettings()
    versions = VersionCache(chosen.folder.expanduser() / cache_name(location), chosen.max_bytes)
    return RemoteStore(ObjectStorage(location, policy), versions)
