import subprocess
import sys
from pathlib import Path

import pytest

from model_store.published_versions import published_names, published_versions


def test_models_and_versions_are_told_by_their_folders(tmp_path: Path) -> None:
    for place in ("wave/1", "wave/10", "wave/2", "wave/draft", "wave/03", "Cats/1", "empty/1"):
        (tmp_path / place).mkdir(parents=True)
        if place != "empty/1":
            (tmp_path / place / "manifest.json").touch()
    (tmp_path / "notes").touch()
    assert published_names(tmp_path) == ["wave"]
    assert published_versions(tmp_path, "wave") == [1, 2, 10]
    assert published_versions(tmp_path, "../wave") == published_versions(tmp_path, "none") == []
    assert published_names(tmp_path / "none") == []


def test_folder_that_cannot_be_looked_into_is_a_model(tmp_path: Path) -> None:
    """So that what is served of it goes on, and nobody takes it for gone."""
    (tmp_path / "wave").symlink_to("x" * 300)  # no file system has such a name: even to look is an error
    (tmp_path / "Cats").symlink_to("x" * 300)
    assert published_names(tmp_path) == ["wave"]
    with pytest.raises(OSError, match="File name too long"):
        published_versions(tmp_path, "wave")


def test_neither_they_nor_the_settings_need_torch() -> None:
    """Which takes seconds to import, before a wrong option is told."""
    program = "import sys, service.settings, model_store.published_versions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
