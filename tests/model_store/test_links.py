import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store import CorruptModel, Draft, ModelStore
from model_store.__main__ import main
from model_store.links import require_inside
from tests.networks import network


def published(root: Path, name: str = "wave") -> ModelStore:
    store = ModelStore(root)
    store.publish(network("c3s1-4,c3s1-3"), Draft(name=name, task="style"), preview=b"png")
    return store


def linked_from(path: Path, elsewhere: Path) -> None:
    """Move what is at `path` elsewhere, and leave a link to it."""
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


LINKED = (
    "wave",
    "wave/1",
    "wave/current",
    "wave/1/manifest.json",
    "wave/1/weights.safetensors",
    "wave/1/golden.safetensors",
    "wave/1/preview.png",
    "wave/1/README.md",
)

READS: dict[str, Callable[[ModelStore], object]] = {
    "manifest": lambda store: store.manifest("wave"),
    "load": lambda store: store.load("wave"),
    "preview": lambda store: store.preview("wave"),
    "card": lambda store: store.card("wave"),
    "verify": lambda store: store.verify("wave"),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("linked", LINKED)
def test_link_out_of_the_store_is_not_followed(tmp_path: Path, linked: str, read: str) -> None:
    store = published(tmp_path / "store")
    linked_from(store.root / linked, tmp_path / "elsewhere")
    with pytest.raises(CorruptModel, match="leads out of the store by a symbolic link") as refused:
        READS[read](store)
    assert repr(Path(linked).name) in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
    assert store.names() == ["wave"]  # it is there, so that its failure can be shown


@pytest.mark.parametrize("linked", ["wave", "wave/1", "wave/1/weights.safetensors"])
def test_linked_version_is_not_promoted(tmp_path: Path, linked: str) -> None:
    store = published(tmp_path / "store")
    linked_from(store.root / linked, tmp_path / "elsewhere")
    with pytest.raises(CorruptModel, match="leads out of the store"):
        store.promote("wave", 1)


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_published_through_a_link_out_of_the_store(tmp_path: Path, there: bool) -> None:
    store, elsewhere = ModelStore(tmp_path / "store"), tmp_path / "elsewhere"
    store.root.mkdir()
    elsewhere.mkdir() if there else None
    (store.root / "wave").symlink_to(elsewhere)
    with pytest.raises(CorruptModel, match="wave: 'wave' leads out of the store"):
        published(store.root)
    assert elsewhere.exists() is there
    assert list(elsewhere.glob("*")) == []


def test_promotion_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    store = published(tmp_path / "store")
    linked_from(store.root / "wave/current", tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("precious")
    store.promote("wave", 1)
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert store.verify("wave").label == "wave@1"


@pytest.mark.parametrize("linked", LINKED)
def test_link_that_stays_inside_is_followed(tmp_path: Path, linked: str) -> None:
    store = published(tmp_path)
    linked_from(tmp_path / linked, tmp_path / ".elsewhere")
    assert store.verify("wave").label == "wave@1"
    assert store.preview("wave") == tmp_path / "wave/1/preview.png"


def test_root_may_be_a_link(tmp_path: Path) -> None:
    published(tmp_path / "releases/7")
    (tmp_path / "store").symlink_to("releases/7")
    store = published(tmp_path / "store")
    assert store.verify("wave").label == "wave@2"
    assert store.rollback("wave") == 1


def test_volume_of_kubernetes_is_read_before_and_after_its_data_is_swapped(tmp_path: Path) -> None:
    """It mounts `wave` as a link to ..data/wave, and ..data as a link to the folder of the last update."""
    root = tmp_path / "store"
    for update, versions in (("..2026_01", 1), ("..2026_02", 2)):
        for _ in range(versions):
            published(root / update)
    (root / "..data").symlink_to("..2026_01")
    (root / "wave").symlink_to("..data/wave")
    store = ModelStore(root)
    assert store.verify("wave").label == "wave@1"
    (root / "..data_tmp").symlink_to("..2026_02")
    (root / "..data_tmp").rename(root / "..data")
    shutil.rmtree(root / "..2026_01")
    assert store.verify("wave").label == "wave@2"


def test_links_in_a_circle_are_corruption(tmp_path: Path) -> None:
    store = published(tmp_path)
    manifest = tmp_path / "wave/1/manifest.json"
    manifest.unlink()
    manifest.symlink_to("manifest.json")
    with pytest.raises(CorruptModel, match=r"wave@1: unreadable manifest\.json: Too many levels"):
        store.load("wave")


def test_command_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = published(tmp_path / "store")
    linked_from(store.root / "wave/1", tmp_path / "elsewhere")
    assert main(["--store", str(store.root), "list"]) == 1
    assert capsys.readouterr().err.startswith("error: wave@1: '1' leads out of the store by a symbolic link; ")


def test_folder_beside_the_root_whose_name_begins_like_it_is_outside(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(CorruptModel, match="wave: 'file' leads out"):
        require_inside(tmp_path / "store", [tmp_path / "store-2" / "file"], "wave")
    require_inside(tmp_path / "store", [tmp_path / "store"], "wave")
