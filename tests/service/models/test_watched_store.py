import shutil
from itertools import pairwise
from pathlib import Path

from model_store import ModelStore, StoreAway
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


def test_warning_says_what_is_served_while_a_store_is_missing(tmp_path: Path) -> None:
    publish(tmp_path)
    distant = DistantStore(tmp_path)
    store = WatchedStore(distant, clock=lambda: 0.0)
    assert (store.asked, store.warning) == (False, None)
    promoted(store)
    unread = f"the store {tmp_path} could not be read yet; its models are not served (no route to it)"
    assert (store.asked, store.warning) == (True, unread)
    store.promoted(retry=True)
    assert store.warning == f"the store {tmp_path} is missing; its models stay loaded (no route to it)"
    distant.away = False
    store.promoted(retry=True)
    assert store.warning is None


class DistantStore(ModelStore):
    """A store that can be away, and counts how often it is asked."""

    away = True
    asked = 0

    def refresh(self) -> None:
        self.asked += 1
        if self.away:
            raise StoreAway("no route to it")

    def names(self) -> list[str]:
        if self.away and self.asked < 2:
            raise StoreAway("no route to it")
        return super().names()


def test_store_that_does_not_answer_is_asked_less_and_less_often(tmp_path: Path) -> None:
    publish(tmp_path)
    distant, now = DistantStore(tmp_path), 0.0
    store = WatchedStore(distant, first_pause=1.0, clock=lambda: now)
    assert (promoted(store), store.missing, store.unread) == ([], True, "no route to it")
    asked_at: list[float] = []
    for now in range(400):
        before = distant.asked
        promoted(store)
        asked_at += [now] if distant.asked > before else []
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses[:4] == [4, 8, 16, 32]
    assert set(pauses[4:]) == {60}
    assert (promoted(store), store.missing, store.unread) == (["wave@1"], True, None)  # by its cache


def test_store_that_is_back_is_asked_at_once_if_wanted(tmp_path: Path) -> None:
    publish(tmp_path)
    distant = DistantStore(tmp_path)
    store = WatchedStore(distant, clock=lambda: 0.0)
    promoted(store)
    distant.away = False
    assert promoted(store) == []
    assert [version.label for version in store.promoted(retry=True).values()] == ["wave@1"]
    assert (store.missing, store.unread, store.reason) == (False, None, "")
