from pathlib import Path

import pytest

from model_store import ModelStore
from service.models.ignored_entries import IgnoredEntries
from tests.service.live import publish


def test_entry_that_stays_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(tmp_path)
    (tmp_path / "mosaic.pth").touch()
    entries = IgnoredEntries(ModelStore(tmp_path))
    entries.read()
    assert (entries.names, caplog.messages) == ([], [])  # it may be on the way to its first version
    for _ in range(3):
        entries.read()
    (tmp_path / "candy.pth").touch()
    for _ in range(3):
        entries.read()
    assert entries.names == ["candy.pth", "mosaic.pth"]
    first, second = caplog.messages
    assert first.startswith(f"in the store {tmp_path} 'mosaic.pth' is no model and ignored")
    assert second.startswith(f"in the store {tmp_path} 'candy.pth' is no model and ignored")
    (tmp_path / "candy.pth").unlink()
    entries.read()
    assert entries.names == ["mosaic.pth"]


def test_store_that_is_not_there_has_none(tmp_path: Path) -> None:
    entries = IgnoredEntries(ModelStore(tmp_path / "absent"))
    entries.read()
    assert entries.names == []
