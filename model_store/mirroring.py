"""Copies a store to another place, such as a bucket or a folder that a web server serves."""

from model_store.errors import StoreError
from model_store.store import ModelStore


def mirror(source: ModelStore, target: ModelStore) -> list[str]:
    """Add to `target` the versions of `source` that it lacks, then make the same ones current. Returns their labels.

    Versions keep their numbers. Raises StoreError where both have different versions of one number; what `target` has
    alone stays. An interrupted copy can be repeated.
    """
    target.prepare_writing()
    added = [label for name in source.names() for label in _add_versions(source, target, name)]
    for name in source.names():
        if target.current(name) != source.current(name):
            target.promote(name, source.current(name))
    return added


def _add_versions(source: ModelStore, target: ModelStore, name: str) -> list[str]:
    there = set(target.versions(name))
    for version in there.intersection(source.versions(name)):
        if target.manifest(name, version) != source.manifest(name, version):
            raise StoreError(f"{name}@{version} is another network in {target.location}; it was not replaced")
    missing = [version for version in source.versions(name) if version not in there]
    for version in missing:
        target.add(name, version, source.files(name, version))
    return [f"{name}@{version}" for version in missing]
