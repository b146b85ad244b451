import json

import pytest

from model_store import CorruptModel, UnknownModel
from model_store.remote.index import Files, Index, IndexedFile

FILES: Files = {"manifest.json": IndexedFile.of(b"{}")}


def index(*versions: int) -> Index:
    made = Index()
    for version in versions:
        made = made.with_version("wave", version, FILES)
    return made


def test_newest_version_is_current_whoever_is_late() -> None:
    assert index(1, 2).models["wave"].current == 2
    late = index(2, 1)
    assert (late.models["wave"].current, sorted(late.models["wave"].versions)) == (2, [1, 2])


def test_promotion_and_rollback() -> None:
    three = index(1, 2, 4)
    assert three.with_rollback("wave").models["wave"].current == 2
    assert three.with_current("wave", 1).models["wave"].current == 1
    with pytest.raises(UnknownModel, match=r"no version 3 of 'wave'; there are: \[1, 2, 4\]"):
        three.with_current("wave", 3)
    with pytest.raises(UnknownModel, match="oldest version"):
        index(1).with_rollback("wave")
    with pytest.raises(UnknownModel, match="no model 'night'; there are: wave"):
        three.with_rollback("night")


def test_file_is_read_back_and_fits_its_content_alone() -> None:
    assert Index.parse(index(1, 2).format_file(), "store") == index(1, 2)
    assert FILES["manifest.json"].fits(b"{}")
    assert not FILES["manifest.json"].fits(b"{ }")


@pytest.mark.parametrize(
    "model",
    [
        {"../other": {"current": 1, "versions": {"1": {}}}},
        {"wave": {"current": 2, "versions": {"1": {}}}},
        {"wave": {"current": 1, "versions": {}}},
        {"wave": {"current": 1, "versions": {"1": {"../../x": {"size": 1, "digest": f"sha256:{'0' * 64}"}}}}},
        {"wave": {"current": 1, "versions": {"1": {"README.md": {"size": 1, "digest": "sha256:0"}}}}},
    ],
)
def test_index_that_leads_elsewhere_or_contradicts_itself_is_refused(model: object) -> None:
    with pytest.raises(CorruptModel, match="store: unreadable index"):
        Index.parse(json.dumps({"format": 1, "models": model}).encode(), "store")


def test_truncated_index_is_refused() -> None:
    content = index(1).format_file()
    with pytest.raises(CorruptModel, match="unreadable index"):
        Index.parse(content[: len(content) // 2], "store")
