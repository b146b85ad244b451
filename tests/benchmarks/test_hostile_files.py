import io
from collections.abc import Callable

import pytest
from PIL import Image

from benchmarks.hostile_files import FILES, block_bomb, chunk_bomb, harmless, packet_bomb, scan_bomb


@pytest.mark.parametrize(
    ("bomb", "size", "marker", "count"),
    [
        (scan_bomb, 20, b"\xff\xda", 20),
        (chunk_bomb, 50, b"teSt", 50),
        (block_bomb, 50, b"\x21\xfe\x01", 50),
        (packet_bomb, 50, b"iTXt", 1),
    ],
)
def test_bomb_is_a_valid_file_with_as_many_parts(
    bomb: Callable[[int], bytes], size: int, marker: bytes, count: int
) -> None:
    content = bomb(size)
    assert content.count(marker) == count
    Image.open(io.BytesIO(content)).load()


def test_harmless_file_is_as_large_as_those_beside_it() -> None:
    for content in (harmless(), chunk_bomb(1), block_bomb(1), packet_bomb(1)):
        assert Image.open(io.BytesIO(content)).size == (64, 64)


def test_every_kind_has_a_name() -> None:
    assert set(FILES) == {"harmless", "scans", "chunks", "blocks", "packet", "pixels"}
