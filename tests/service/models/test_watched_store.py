import shutil
from pathlib import Path

from model_store import ModelStore
from service.models.watched_store import WatchedStore
from tests.service.live import publish


def promoted(store: WatchedStore) -> list[str]:
    return [version.label for version in store.promoted().values()]


def test_promoted_versions_are_those_of_the_store(tmp_path: Path) -> None:
    store = WatchedStore(ModelStore(tmp_path / "store"))
    assert (promoted(store), store.missing) == ([], False)
    publish(tmp_path / "store")
    publish(tmp_path / "store")
    publish(tmp_path / "store", "night")
    assert (promoted(store), store.missing) == (["night@1", "wave@2"], False)
    (tmp_path / "store" / "wave" / "current").write_text("7")
    assert promoted(store) == ["night@1", "wave@?"]


def test_folder_that_vanishes_keeps_its_models_until_it_is_back(tmp_path: Path) -> None:
    root, away = tmp_path / "store", tmp_path / "away"
    publish(root)
    store = WatchedStore(ModelStore(root))
    assert promoted(store) == ["wave@1"]
    root.rename(away)
    assert (promoted(store), store.missing) == (["wave@1"], True)
    root.mkdir()  # the mount point of an unmounted volume
    assert (promoted(store), store.missing) == (["wave@1"], True)
    root.rmdir()
    publish(away)
    away.rename(root)
    assert (promoted(store), store.missing) == (["wave@2"], False)


def test_models_can_be_removed_down_to_the_last(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "night")
    store = WatchedStore(ModelStore(tmp_path))
    assert promoted(store) == ["night@1", "wave@1"]
    shutil.rmtree(tmp_path / "night")
    assert promoted(store) == ["wave@1"]
    shutil.rmtree(tmp_path / "wave")
    assert (promoted(store), store.missing) == ([], False)


def test_new_folder_with_models_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    root = tmp_path / "store"
    publish(root)
    store = WatchedStore(ModelStore(root))
    assert promoted(store) == ["wave@1"]
    root.rename(tmp_path / "old")
    publish(root, "night")
    assert (promoted(store), store.missing) == (["night@1"], False)
