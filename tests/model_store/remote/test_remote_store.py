import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time

import pytest

from model_store import CorruptModel, Draft, Manifest, ModelStore, ReadOnlyStore, StoreAway, UnknownModel
from model_store.mirroring import mirror
from model_store.remote.conditional_writes import StoredFile
from model_store.remote.object_storage import ObjectStorage, TransferPolicy
from model_store.remote.opening import open_store
from model_store.remote.remote_store import RemoteStore
from model_store.remote.version_cache import CacheSettings, VersionCache
from tests.buckets import Bucket, s3_server, truncated, unavailable, web_server
from tests.networks import network

URL = "s3://bucket/models"
QUICK = TransferPolicy(attempts=2, first_pause=0.001)
WEIGHTS = "models/wave/1/weights.safetensors"


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket) -> Iterator[Bucket]:
    server.create()
    yield server
    server.remove()


def opened(folder: Path, url: str = URL) -> ModelStore:
    return open_store(url, CacheSettings(folder), QUICK)


def publish(store: ModelStore, name: str = "wave", seed: int = 0, preview: bytes | None = None) -> Manifest:
    return store.publish(network("c3s1-4,R4,c3s1-3", seed=seed), Draft(name=name, task="style"), preview)


class RacingStorage(ObjectStorage):
    """Lets another publisher act just before the first write of a file that ends so."""

    def __init__(self, file: str, act: Callable[[], object]) -> None:
        super().__init__(URL, QUICK)
        self._file = file
        self._act: Callable[[], object] | None = act

    def write(self, path: str, content: bytes, old: StoredFile | None) -> None:
        act = self._act
        if act is not None and path.endswith(self._file):
            self._act = None
            act()
        super().write(path, content, old)


def test_what_is_published_is_read_elsewhere(bucket: Bucket, tmp_path: Path) -> None:
    manifest = publish(opened(tmp_path / "one"), preview=b"png")
    store = opened(tmp_path / "two")
    assert (store.names(), store.versions("wave"), store.current("wave"), store.foreign()) == (["wave"], [1], 1, [])
    assert store.verify("wave") == manifest
    assert "license: apache-2.0" in store.card("wave")
    assert store.has_preview("wave", 1)
    preview = store.preview("wave")
    assert preview is not None
    assert preview.read_bytes() == b"png"
    with pytest.raises(UnknownModel, match="no model 'night' in s3://bucket/models; there are: wave"):
        store.load("night")
    with pytest.raises(UnknownModel, match=r"no version 2 of 'wave'; there are: \[1\]"):
        store.load("wave", 2)


@pytest.mark.parametrize("file", ["weights.safetensors", "index.json"])
def test_two_publishers_at_once_lose_nothing(bucket: Bucket, tmp_path: Path, file: str) -> None:
    other = opened(tmp_path / "two")
    storage = RacingStorage(file, lambda: publish(other, seed=2))
    mine = publish(RemoteStore(storage, VersionCache(tmp_path / "one", 2**20)), seed=1)
    reader = opened(tmp_path / "three")
    assert (reader.versions("wave"), reader.current("wave")) == ([1, 2], 2)
    digests = {reader.verify("wave", version).digest for version in (1, 2)}
    assert len(digests) == 2
    assert mine.digest in digests


def test_promotion_and_rollback_survive_another_publisher(bucket: Bucket, tmp_path: Path) -> None:
    other = opened(tmp_path / "two")
    publish(other)
    publish(other, seed=1)
    storage = RacingStorage("index.json", lambda: publish(other, "night"))
    store = RemoteStore(storage, VersionCache(tmp_path / "one", 2**20))
    assert store.rollback("wave") == 1
    other.refresh()
    assert (other.names(), other.current("wave")) == (["night", "wave"], 1)
    other.promote("wave", 2)
    store.refresh()
    assert store.current("wave") == 2
    with pytest.raises(UnknownModel, match="no version 3"):
        store.promote("wave", 3)


def test_what_a_killed_publisher_has_left_is_found_and_deleted(bucket: Bucket, tmp_path: Path) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    killed = RemoteStore(RacingStorage("index.json", die), VersionCache(tmp_path / "one", 2**20))
    with pytest.raises(KeyboardInterrupt):
        publish(killed, preview=b"png")
    store = opened(tmp_path / "two")
    assert isinstance(store, RemoteStore)
    assert publish(store).version == 2
    for path in ("models/notes.txt", "models/wave/old/weights.safetensors", "models/wave/2/notes.txt"):
        bucket.write(path, b"somebody else's")
    later = time() + 3600
    files = {"README.md", "golden.safetensors", "manifest.json", "preview.png", "weights.safetensors"}
    assert {file.path for file in store.unindexed(later)} == {f"wave/1/{file}" for file in files}
    assert [file.size for file in store.unindexed(later) if file.path.endswith("png")] == [3]
    assert store.unindexed(time() - 3600) == []
    for file in store.unindexed(later):
        store.delete(file)
        store.delete(file)
    assert store.unindexed(later) == []
    assert opened(tmp_path / "three").verify("wave").version == 2
    assert bucket.read("models/wave/old/weights.safetensors") == b"somebody else's"


def test_poll_of_an_unchanged_store_is_one_request(bucket: Bucket, tmp_path: Path) -> None:
    publish(opened(tmp_path / "one"))
    store = opened(tmp_path / "two")
    store.names()
    bucket.requests.clear()
    store.refresh()
    assert bucket.requests == ["HEAD /bucket/models/index.json"]


def test_file_of_another_digest_is_refused_and_not_kept(bucket: Bucket, tmp_path: Path) -> None:
    publish(opened(tmp_path / "one"))
    sound = bucket.read(WEIGHTS)
    bucket.write(WEIGHTS, sound[:-1] + bytes([sound[-1] ^ 1]))
    store = opened(tmp_path / "two")
    with pytest.raises(CorruptModel, match="the index of the store says sha256:"):
        store.load("wave")
    assert list((tmp_path / "two").rglob("weights*")) == []
    bucket.write(WEIGHTS, sound)
    assert store.verify("wave").label == "wave@1"


def test_damaged_cache_is_fetched_again(bucket: Bucket, tmp_path: Path) -> None:
    publish(opened(tmp_path))
    opened(tmp_path).load("wave")
    (cached,) = tmp_path.rglob("weights.safetensors")
    cached.write_bytes(bytes(cached.stat().st_size))
    assert opened(tmp_path).verify("wave").label == "wave@1"


def test_index_that_is_truncated_or_refused_keeps_what_was_read(bucket: Bucket, tmp_path: Path) -> None:
    writer, store = opened(tmp_path / "one"), opened(tmp_path / "two")
    publish(writer)
    store.refresh()
    publish(writer)
    for fault in (truncated, unavailable):
        bucket.faults = [("/models/index.json", fault)] * 20
        with pytest.raises(StoreAway, match="s3://bucket/models"):
            store.refresh()
        assert store.versions("wave") == [1]
    bucket.faults = []
    store.refresh()
    assert store.versions("wave") == [1, 2]


def test_store_away_is_read_from_the_cache_by_a_new_process(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(opened(tmp_path))
    opened(tmp_path).load("wave")
    bucket.remove()
    with pytest.raises(StoreAway, match="no index"):
        opened(tmp_path / "empty").names()
    with caplog.at_level(logging.WARNING):
        assert opened(tmp_path).load("wave").manifest.label == "wave@1"
    assert "read from the cache" in caplog.text
    bucket.create()


def test_cache_is_bounded_and_what_is_leased_stays(bucket: Bucket, tmp_path: Path) -> None:
    writer = opened(tmp_path / "one")
    for seed in range(3):
        publish(writer, seed=seed)
    store = open_store(URL, CacheSettings(tmp_path / "two", 0), QUICK)
    lease = store.lease("wave", 1)
    assert sorted(path.name for path in (store.root / "wave/1").iterdir()) == [
        "README.md",
        "golden.safetensors",
        "manifest.json",
        "weights.safetensors",
    ]
    store.lease("wave", 2)
    assert store.load("wave", 3).manifest.label == "wave@3"
    assert (store.root / "wave/1/weights.safetensors").exists()
    assert not (store.root / "wave/2").exists()
    del lease


def test_what_a_killed_publisher_has_published_is_not_published_again(bucket: Bucket, tmp_path: Path) -> None:
    built, draft = network("c3s1-4,R4,c3s1-3"), Draft(name="wave", task="style")
    manifest = opened(tmp_path / "one").publish_once(built, draft)
    assert opened(tmp_path / "two").publish_once(built, draft) == manifest
    assert opened(tmp_path / "two").versions("wave") == [1]


def test_whether_a_bucket_can_be_published_to_is_asked_without_a_trace(bucket: Bucket, tmp_path: Path) -> None:
    opened(tmp_path).require_writable("wave")
    assert ObjectStorage(URL, QUICK).files() == []
    with pytest.raises(ReadOnlyStore, match="can only be read"):
        opened(tmp_path, "https://127.0.0.1:9/models").require_writable("wave")
    bucket.faults = [("/models/index.json", unavailable)] * 20
    with pytest.raises(StoreAway, match="does not answer"):
        opened(tmp_path).require_writable("wave")


def test_mirrored_folder_is_a_store_of_a_web_server(tmp_path: Path) -> None:
    source = ModelStore(tmp_path / "models")
    publish(source, preview=b"png")
    mirror(source, opened(tmp_path / "cache", f"file://{tmp_path}/site/models"))
    with web_server(tmp_path / "site") as url:
        store = opened(tmp_path / "cache", f"{url}/models")
        assert (store.verify("wave").label, store.has_preview("wave", 1)) == ("wave@1", True)
        store.refresh()
        with pytest.raises(ReadOnlyStore, match="http:// can only be read"):
            publish(store)
        with pytest.raises(ReadOnlyStore, match="http:// can only be read"):
            store.promote("wave", 1)
        assert json.loads((tmp_path / "site/models/index.json").read_bytes())["models"]["wave"]["current"] == 1
