from pathlib import Path

import fsspec
import pytest

from model_store import Draft, ModelStore, StoreError, open_store
from model_store.mirroring import mirror
from model_store.remote.version_cache import CacheSettings
from tests.networks import network


def publish(store: ModelStore, seed: int = 0) -> None:
    store.publish(network("c3s1-4,R4,c3s1-3", seed=seed), Draft(name="wave", task="style"), b"png")


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_copy_has_the_same_versions_and_promotes_the_same(tmp_path: Path, kind: str) -> None:
    fsspec.filesystem("memory").store.clear()
    source = ModelStore(tmp_path / "source")
    publish(source)
    publish(source, 1)
    source.promote("wave", 1)
    place = tmp_path / "copy" if kind == "folder" else "memory://copy"
    target = open_store(place, CacheSettings(tmp_path / "cache"))
    assert mirror(source, target) == ["wave@1", "wave@2"]
    assert (target.versions("wave"), target.current("wave")) == ([1, 2], 1)
    assert all(target.files("wave", version) == source.files("wave", version) for version in (1, 2))
    assert mirror(source, target) == []


def test_another_version_of_the_same_number_is_not_replaced(tmp_path: Path) -> None:
    source, target = ModelStore(tmp_path / "source"), ModelStore(tmp_path / "target")
    publish(source)
    publish(target, 1)
    digest = target.manifest("wave").digest
    with pytest.raises(StoreError, match="wave@1 is another network"):
        mirror(source, target)
    assert target.manifest("wave").digest == digest


def test_interrupted_copy_is_completed_unless_the_file_is_another(tmp_path: Path) -> None:
    fsspec.filesystem("memory").store.clear()
    source = ModelStore(tmp_path)
    publish(source)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/copy/wave/1/weights.safetensors", source.files("wave", 1)["weights.safetensors"])
    target = open_store("memory://copy", CacheSettings(tmp_path / "cache"))
    assert mirror(source, target) == ["wave@1"]
    memory.store.clear()
    memory.pipe_file("/copy/wave/1/weights.safetensors", b"other")
    with pytest.raises(StoreError, match="another wave/1/weights"):
        mirror(source, target)


@pytest.mark.parametrize("place", ["copy", "memory://copy"])
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("weights.safetensors", b"other", r"wave@2: weights\.safetensors is sha256:.*, its manifest says"),
        ("golden.safetensors", None, r"wave@2: golden\.safetensors is missing"),
        ("manifest.json", b"{", r"wave@2: unreadable manifest\.json"),
    ],
)
def test_a_damaged_version_is_not_copied_until_it_is_repaired(
    tmp_path: Path, place: str, file: str, content: bytes | None, message: str
) -> None:
    fsspec.filesystem("memory").store.clear()
    source = ModelStore(tmp_path / "source")
    publish(source)
    publish(source, 1)
    path = source.root / "wave/2" / file
    sound = path.read_bytes()
    path.unlink()
    if content:
        path.write_bytes(content)
    target = open_store(place if "://" in place else tmp_path / place, CacheSettings(tmp_path / "cache"))
    with pytest.raises(StoreError, match=message):
        mirror(source, target)
    assert target.versions("wave") == [1]
    path.write_bytes(sound)
    assert mirror(source, target) == ["wave@2"]
    assert target.verify("wave").version == 2


@pytest.mark.parametrize("prefix", ["", "file://"])
@pytest.mark.parametrize("inside", ["sub", "wave/copy", "link"])
def test_a_store_is_not_copied_into_itself(tmp_path: Path, prefix: str, inside: str) -> None:
    root = tmp_path / "store"
    source = ModelStore(root)
    source.publish(network("c3s1-4,c3s1-3"), Draft(name="wave", task="style"))
    (tmp_path / "link").symlink_to(root / "sub")
    before = sorted(root.rglob("*"))
    place = tmp_path / "link" if inside == "link" else root / inside
    with pytest.raises(StoreError, match=r"lies in the store .*, which is not copied into itself"):
        mirror(source, open_store(f"file://{place}" if prefix else place, CacheSettings(tmp_path / "cache")))
    assert sorted(root.rglob("*")) == before
    beside = open_store(f"file://{root}s" if prefix else tmp_path / "stores", CacheSettings(tmp_path / "cache"))
    assert mirror(source, beside) == ["wave@1"]


def test_a_target_that_cannot_be_written_is_found_before_anything_is_copied(tmp_path: Path) -> None:
    source, target = ModelStore(tmp_path / "source"), ModelStore(tmp_path / "target")
    for name in ("cats", "wave"):
        source.publish(network("c3s1-4,c3s1-3"), Draft(name=name, task="style"))
    target.root.mkdir()
    (target.root / "wave").touch()
    with pytest.raises(StoreError, match=r"target cannot be written: Not a directory: .*target/wave"):
        mirror(source, target)
    assert target.names() == []
    (target.root / "wave").unlink()
    assert mirror(source, target) == ["cats@1", "wave@1"]
