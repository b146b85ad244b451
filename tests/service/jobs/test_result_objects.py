from pathlib import Path

import pytest

from service.jobs.result_objects import ResultObjects


def test_object_is_read_as_it_was_written_until_it_is_deleted(tmp_path: Path) -> None:
    objects = ResultObjects(f"file://{tmp_path}/shared/results")
    path = objects.path("one")
    objects.write(path, b"painted")
    assert objects.read(path) == b"painted"
    assert (tmp_path / "shared" / "results" / "one").read_bytes() == b"painted"
    objects.remove(path)
    objects.remove(path)
    with pytest.raises(FileNotFoundError):
        objects.read(path)


def test_url_that_nothing_speaks_with_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        ResultObjects("nowhere://bucket")
