from pathlib import Path

from benchmarks.faults import FAULTS, small_disk


def test_faults_are_told_apart_by_their_words() -> None:
    assert len({fault.__name__ for fault in FAULTS.values()}) == len(FAULTS)


def test_disk_is_small_and_goes_with_the_block(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder) as mounted:
        assert folder.is_mount() == mounted
    assert not folder.is_mount()
