"""Opens a store, wherever it is."""

from dataclasses import dataclass
from pathlib import Path

from model_store.remote.location import Location
from model_store.remote.object_storage import ObjectStorage, TransferPolicy
from model_store.remote.remote_store import RemoteStore, cache_name
from model_store.remote.version_cache import DEFAULT_CACHE, DEFAULT_CACHE_BYTES, VersionCache
from model_store.store import ModelStore


@dataclass(frozen=True)
class CacheSettings:
    """Where the files of stores at URLs are kept, and how many bytes of each store."""

    folder: Path = DEFAULT_CACHE
    max_bytes: int = DEFAULT_CACHE_BYTES


def open_store(
    location: Location, cache: CacheSettings | None = None, policy: TransferPolicy | None = None
) -> ModelStore:
    """The store in a folder or at a URL; it is not read yet. Raises as `ObjectStorage`."""
    if isinstance(location, Path):
        return ModelStore(location)
    chosen = cache or CacheSettings()
    versions = VersionCache(chosen.folder.expanduser() / cache_name(location), chosen.max_bytes)
    return RemoteStore(ObjectStorage(location, policy), versions)
