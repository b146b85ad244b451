"""Copies a store to another place, such as a bucket or a folder that a web server serves."""

from model_store.errors import StoreError
from model_store.remote.location import local_folder
from model_store.store import ModelStore


def mirror(source: ModelStore, target: ModelStore) -> list[str]:
    """Add to `target` the versions of `source` that it lacks, then make the same ones current. Returns their labels.

    Versions keep their numbers. Raises StoreError where both have different versions of one number, and where the copy
    would lie in what is copied, or cannot be written; CorruptModel for a damaged version, which is not copied; what
    `target` has alone stays. An interrupted copy can be repeated.
    """
    _require_outside(source, target)
    target.prepare_writing()
    for name in source.names():
        _require_writable(source, target, name)
    added = [label for name in source.names() for label in _add_versions(source, target, name)]
    for name in source.names():
        if target.current(name) != source.current(name):
            target.promote(name, source.current(name))
    return added


def _require_writable(source: ModelStore, target: ModelStore, name: str) -> None:
    """Raise StoreError where something is to be written of a model, and cannot be: before anything is fetched."""
    if not set(source.versions(name)) <= set(target.versions(name)) or target.current(name) != source.current(name):
        try:
            target.require_writable(name)
        except OSError as error:
            raise StoreError(f"{target.location} cannot be written: {error.strerror}: {error.filename}") from error


def _require_outside(source: ModelStore, target: ModelStore) -> None:
    """The same folder is allowed: at a file:// URL it gets an index."""
    inner, outer = local_folder(target.location), local_folder(source.location)
    if inner and outer and outer in inner.parents:
        raise StoreError(
            f"{target.location} lies in the store {source.location}, which is not copied into itself; name a folder "
            "outside of it"
        )


def _add_versions(source: ModelStore, target: ModelStore, name: str) -> list[str]:
    there = set(target.versions(name))
    for version in there.intersection(source.versions(name)):
        if target.manifest(name, version) != source.manifest(name, version):
            raise StoreError(f"{name}@{version} is another network in {target.location}; it was not replaced")
    missing = [version for version in source.versions(name) if version not in there]
    for version in missing:
        target.add(name, version, source.files(name, version))
    return [f"{name}@{version}" for version in missing]
