import io
import struct

import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import inspect
from service.imaging.codecs.gif import count_frames
from tests.service.imaging.codecs.samples import moving
from tests.service.imaging.images import file, photo


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("alpha", [False, True])
def test_frame_count_equals_pillow(count: int, alpha: bool) -> None:
    data = moving("GIF", count, alpha=alpha, comment=b"x" * 600, loop=0) if count > 1 else file(photo(), "GIF")
    assert count_frames(data) == Image.open(io.BytesIO(data)).n_frames == count  # type: ignore[attr-defined]


def test_extensions_and_stray_bytes_between_frames_are_skipped() -> None:
    data = moving("GIF", 3)
    assert count_frames(data[:-1] + b"\0\0\x21\xfe\x05a,b;c\0;") == 3


def test_frames_that_begin_are_counted_in_a_truncated_file() -> None:
    data = moving("GIF", 4)
    assert [count_frames(data[:end]) for end in (13, len(data) // 2, len(data) - 1)] == [1, 2, 4]


def test_frame_outside_the_screen_is_refused_before_memory_is_allocated() -> None:
    data = bytearray(moving("GIF", 3))
    at = data.rindex(b"\x2c" + struct.pack("<4H", 0, 0, 32, 24))
    data[at + 5 : at + 9] = struct.pack("<HH", 65_535, 65_535)
    with pytest.raises(CorruptImage, match="frame 3 of the image is not within its 32×24 pixels"):
        inspect(bytes(data))
