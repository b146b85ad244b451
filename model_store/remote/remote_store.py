"""A store at a URL: what its index promises is fetched when it is first used, verified, and kept in a local cache.

<url>/index.json                     see Index; replaced by conditional writes alone
<url>/<name>/<version>/<file>        as in a folder; never changed once the index has it
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from model_store.durable import replace_file
from model_store.errors import CorruptModel, StoreAway, StoreError, UnknownModel, WriteConflict
from model_store.manifest import Draft, Manifest
from model_store.networks.network import Network
from model_store.published_versions import valid_name
from model_store.remote.conditional_writes import StoredFile
from model_store.remote.index import INDEX_FILE, FileName, Files, Index, IndexedFile, IndexedModel
from model_store.remote.object_storage import ListedFile, ObjectStorage
from model_store.remote.version_cache import Lease, VersionCache
from model_store.store import STORED_FILES, ModelStore, build_version, next_version

log = logging.getLogger(__name__)

_MOST_CONFLICTS = 100
"""Publishers that may be first, one after the other, before a change of the index is given up."""


@dataclass(frozen=True)
class _Snapshot:
    index: Index
    stored: StoredFile | None
    """The file of the store; None where it has none yet, or was not read."""


class RemoteStore(ModelStore):
    """The store at the URL of `storage`. Its `root` is the folder of the cache."""

    def __init__(self, storage: ObjectStorage, cache: VersionCache) -> None:
        super().__init__(cache.folder)
        self.location = storage.url
        self._storage = storage
        self._cache = cache
        self._snapshot: _Snapshot | None = None
        self._last_used: Lease | None = None
        """Of the version whose folder a caller may be about to read."""
        self._sound: set[tuple[str, IndexedFile]] = set()
        """Cached files by their paths, whose digests were right once."""

    def refresh(self) -> None:
        """Read the index again, if its ETag has changed. Raises StoreAway, and keeps what was read before."""
        known = self._snapshot
        try:
            etag = self._storage.etag(INDEX_FILE, attempts=1)
            if known is None or known.stored is None or etag is None or etag != known.stored.etag:
                self._remember(self._storage.read(INDEX_FILE, attempts=1), etag)
        except FileNotFoundError as error:
            raise StoreAway(f"there is no {INDEX_FILE} in {self.location}") from error
        except CorruptModel as error:
            raise StoreAway(str(error)) from error

    def names(self) -> list[str]:
        """See ModelStore. Raises StoreAway where the index was never read, and cannot be."""
        return sorted(self._index().models)

    def prepare_writing(self) -> None:
        """See ModelStore."""
        self._storage.require_writable()
        self._read_index_again()

    def require_writable(self, name: str) -> None:
        """See ModelStore."""
        self.prepare_writing()
        self._storage.try_writing(name)

    def foreign(self) -> list[str]:
        """Nothing: the store is not listed."""
        return []

    def versions(self, name: str) -> list[int]:
        """See ModelStore. Raises StoreAway as `names`."""
        known = self._index().models.get(name)
        return sorted(known.versions) if known else []

    def current(self, name: str) -> int:
        """See ModelStore."""
        return self._known(name).current

    def has_preview(self, name: str, version: int) -> bool:
        """See ModelStore. Fetches nothing."""
        return "preview.png" in self._files(name, version)

    def lease(self, name: str, version: int) -> Lease:
        """See ModelStore."""
        lease = self._cache.lease(name, version)
        self._folder(name, version, *STORED_FILES)
        return lease

    def add(self, name: str, version: int, files: Mapping[str, bytes]) -> None:
        """See ModelStore."""
        self._storage.require_writable()
        for file, content in files.items():
            self._create_equal(f"{name}/{version}/{file}", content)
        self._change_index(lambda index: index.with_version(name, version, _describe(files)))

    def promote(self, name: str, version: int) -> None:
        """See ModelStore. Raises ReadOnlyStore where the URL cannot be written safely, StoreAway."""
        self._change_index(lambda index: index.with_current(name, version))

    def rollback(self, name: str) -> int:
        """See ModelStore. Raises as `promote`."""
        return self._change_index(lambda index: index.with_rollback(name)).models[name].current

    def unindexed(self, before: float) -> list[ListedFile]:
        """Files of versions that no index has, written before that time in seconds since 1970: of killed publishers.

        Raises ReadOnlyStore, StoreAway.
        """
        self._storage.require_writable()
        listed = self._storage.files()  # first: what is published meanwhile is not listed, or is in the index
        index = self._read_index_again().index
        versions: defaultdict[str, list[ListedFile]] = defaultdict(list)
        for file in listed:
            versions[file.path.rpartition("/")[0]].append(file)
        killed = [files for folder, files in versions.items() if _is_unindexed(folder, index)]
        return [file for files in killed if max(each.modified for each in files) < before for file in files]

    def delete(self, file: ListedFile) -> bool:
        """Delete what `unindexed` found; returns False where it was written since. Raises ReadOnlyStore, StoreAway."""
        return self._storage.delete(file)

    def _publish_next(self, draft: Draft, network: Network, files: Mapping[str, bytes]) -> Manifest:
        """The first file claims the number: the index is read late, and has it last."""
        self.prepare_writing()
        version = next_version(self.versions(draft.name))
        while True:
            manifest, content = build_version(draft, version, network, files)
            first, *others = content
            try:
                self._storage.write(f"{manifest.name}/{version}/{first}", content[first], None)
                break
            except WriteConflict:
                version += 1
        for file in others:
            self._storage.write(f"{manifest.name}/{version}/{file}", content[file], None)
        self._change_index(lambda index: index.with_version(draft.name, version, _describe(content)))
        return manifest

    def _folder(self, name: str, version: int | None, *files: str) -> Path:
        chosen = self.current(name) if version is None else version
        there = self._files(name, chosen)
        lease = self._cache.lease(name, chosen)
        fetched = [self._fetch(f"{name}/{chosen}/{file}", there[file]) for file in there if file in files]
        if any(fetched):
            self._cache.trim()
        self._last_used = lease
        return self.root / name / str(chosen)

    def _files(self, name: str, version: int) -> Files:
        known = self._known(name).versions
        if version not in known:
            raise UnknownModel(f"no version {version} of {name!r}; there are: {sorted(known)}")
        return known[version]

    def _known(self, name: str) -> IndexedModel:
        known = self._index().models.get(name)
        if known is None:
            raise UnknownModel(f"no model {name!r} in {self.location}; there are: {', '.join(self.names()) or 'none'}")
        return known

    def _fetch(self, path: str, file: IndexedFile) -> bool:
        """Have a file in the cache. Whether it had to be fetched. Raises CorruptModel where it is another one."""
        cached = self._cache.read(path)
        if cached is not None and len(cached) == file.size and ((path, file) in self._sound or file.fits(cached)):
            self._sound.add((path, file))
            return False
        try:
            content = self._storage.read(path, file.size)
        except FileNotFoundError as error:
            raise CorruptModel(f"{path} is missing in the store, though its index has it") from error
        if not file.fits(content):
            raise CorruptModel(f"{path} is {IndexedFile.of(content).digest}, the index of the store says {file.digest}")
        self._cache.write(path, content)
        self._sound.add((path, file))
        return True

    def _index(self) -> Index:
        if self._snapshot is None:
            self._read_first()
        assert self._snapshot is not None
        return self._snapshot.index

    def _read_first(self) -> None:
        """From the store; where it is away, as it was when somebody last used this cache."""
        try:
            self.refresh()
        except StoreAway as error:
            cached = self._cache.read(INDEX_FILE)
            if cached is None:
                raise
            self._snapshot = _Snapshot(Index.parse(cached, self.location), None)
            log.warning("%s; its models are read from the cache %s", error, self.root)

    def _read_index_again(self) -> _Snapshot:
        """The index for a change of it: an empty one where there is none. Its content and its ETag go together."""
        while True:
            try:
                etag = self._storage.etag(INDEX_FILE)
                content = self._storage.read(INDEX_FILE)
                if self._storage.etag(INDEX_FILE) == etag:
                    return self._remember(content, etag)
            except FileNotFoundError:
                self._snapshot = _Snapshot(Index(), None)
                return self._snapshot

    def _change_index(self, change: Callable[[Index], Index]) -> Index:
        """Compare and swap, again from the new index where another publisher was first."""
        self._storage.require_writable()
        for _ in range(_MOST_CONFLICTS):
            old = self._read_index_again()
            new = change(old.index).format_file()
            try:
                self._storage.write(INDEX_FILE, new, old.stored)
            except WriteConflict:
                continue
            return self._remember(new, None).index
        raise StoreError(f"others changed the index of {self.location} {_MOST_CONFLICTS} times; nothing was changed")

    def _create_equal(self, path: str, content: bytes) -> None:
        """Write a file; one of the same content may be there, as of a copy that was interrupted."""
        try:
            self._storage.write(path, content, None)
        except WriteConflict:
            if self._storage.read(path) != content:
                raise StoreError(f"{self.location} has another {path}; nothing was changed") from None

    def _remember(self, content: bytes, etag: str | None) -> _Snapshot:
        self._snapshot = _Snapshot(Index.parse(content, self.location), StoredFile(content, etag))
        self.root.mkdir(parents=True, exist_ok=True)
        replace_file(self.root / INDEX_FILE, content)
        return self._snapshot


def cache_name(url: str) -> str:
    """The folder of a URL in the cache."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _is_unindexed(folder: str, index: Index) -> bool:
    """Whether it is the folder of a version that the index does not have."""
    name, _, version = folder.partition("/")
    return valid_name(name) and version.isdecimal() and not index.has(name, int(version))


def _describe(files: Mapping[str, bytes]) -> Files:
    assert set(files) <= set(get_args(FileName))
    return {cast(FileName, file): IndexedFile.of(content) for file, content in files.items()}
