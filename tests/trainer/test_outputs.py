from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.errors import TrainerError
from trainer.outputs import require_file, require_folder


def test_what_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    require_folder("--out", tmp_path / "new/folder")
    require_file("--json", tmp_path / "new/file")
    require_file("--json", tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "kept"


@pytest.mark.parametrize(
    ("require", "path", "why"),
    [
        (require_folder, "file", "Not a directory"),
        (require_folder, "file/below", "Not a directory"),
        (require_file, "file/below", "Not a directory"),
        (require_file, "folder", "Is a directory"),
    ],
)
def test_the_option_that_cannot_be_written_is_named(
    tmp_path: Path, require: Callable[[str, Path], None], path: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(TrainerError, match=f"^--out {tmp_path / path} cannot be written: {why}$"):
        require("--out", tmp_path / path)
