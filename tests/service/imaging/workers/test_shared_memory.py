import os
import resource
from pathlib import Path

import pytest

from service.imaging.workers.shared_memory import map_segment, write_segment

PARTS = [memoryview(b"one"), memoryview(b""), memoryview(bytes(range(256)) * 1000)]


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_bytes_come_out_as_they_went_in_and_are_shared() -> None:
    segment = write_segment(PARTS)
    one, other = map_segment(segment), map_segment(segment)
    os.close(segment)
    assert bytes(one) == b"".join(PARTS)
    one[0] = 9
    assert other[0] == 9


def test_nothing_stays_open() -> None:
    before = open_files()
    segment = write_segment(PARTS)
    content = map_segment(segment)
    os.close(segment)
    del content
    assert open_files() == before


def test_what_cannot_be_written_leaves_nothing_open() -> None:
    before = open_files()
    with pytest.raises(BufferError):
        write_segment([*PARTS, memoryview(bytes(16))[::2]])
    assert open_files() == before


def test_limit_of_files_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It holds for shared memory, too."""
    before, limits = open_files(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="shared memory with them, are limited to 10000 bytes"):
            write_segment(PARTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "limited to 10000 bytes (ulimit -f, LimitFSIZE)" in caplog.text
    assert open_files() == before
