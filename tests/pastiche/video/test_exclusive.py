import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from pastiche.video.exclusive import exclusive_folder

ROOT = Path(__file__).parents[3]

HOLD = """
import sys
from pathlib import Path
from pastiche.video.exclusive import exclusive_folder
with exclusive_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_folder_is_held_by_one_process(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "part"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), exclusive_folder(folder):
            pass
        other.kill()
    with exclusive_folder(folder):
        assert folder.is_dir()


def test_folder_is_free_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended"), exclusive_folder(tmp_path / "part"):
            raise RuntimeError("ended")


def test_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, removals = tmp_path / "part", 2

    def lock(_descriptor: int, _operation: int) -> None:
        nonlocal removals
        if removals:
            removals -= 1
            folder.rmdir()

    monkeypatch.setattr(fcntl, "flock", lock)
    with exclusive_folder(folder):
        assert folder.is_dir()
    assert removals == 0
