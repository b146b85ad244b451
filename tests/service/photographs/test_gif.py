import io
import struct

import pytest
from PIL import Image

from service.errors import CorruptImage
from service.photographs import inspect
from service.photographs.gif import frame_count
from tests.service.live import file, photo
from tests.service.photographs.samples import moving


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("alpha", [False, True])
def test_frames_are_those_that_pillow_finds(count: int, alpha: bool) -> None:
    data = moving("GIF", count, alpha=alpha, comment=b"x" * 600, loop=0) if count > 1 else file(photo(), "GIF")
    assert frame_count(data) == Image.open(io.BytesIO(data)).n_frames == count  # type: ignore[attr-defined]


def test_what_is_between_frames_is_skipped() -> None:
    data = moving("GIF", 3)
    assert frame_count(data[:-1] + b"\0\0\x21\xfe\x05a,b;c\0;") == 3


def test_frames_that_begin_count_where_the_file_ends_too_early() -> None:
    data = moving("GIF", 4)
    assert [frame_count(data[:end]) for end in (13, len(data) // 2, len(data) - 1)] == [1, 2, 4]


def test_frame_beyond_the_picture_is_refused_before_room_is_made_for_it() -> None:
    data = bytearray(moving("GIF", 3))
    at = data.rindex(b"\x2c" + struct.pack("<4H", 0, 0, 32, 24))
    data[at + 5 : at + 9] = struct.pack("<HH", 65_535, 65_535)
    with pytest.raises(CorruptImage, match="frame 3 of the image is not within its 32×24 pixels"):
        inspect(bytes(data))
