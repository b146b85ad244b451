import io
import struct

import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import decode, inspect
from service.imaging.codecs.gif import count_frames, read_screen, widen_screen
from tests.service.imaging.codecs.samples import moving, picture
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
    with pytest.raises(CorruptImage, match="frame 3 of the image lies far outside its 32×24 pixels"):
        inspect(bytes(data))


def with_screen(data: bytes, width: int, height: int) -> bytes:
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def first_frame_at(data: bytes, left: int, top: int) -> bytes:
    at = data.index(b"\x2c" + struct.pack("<4H", 0, 0, 32, 24))
    return data[: at + 1] + struct.pack("<HH", left, top) + data[at + 5 :]


@pytest.mark.parametrize("size", [(0, 0), (0, 24), (10, 10)])
def test_a_screen_is_at_least_the_first_frame(size: tuple[int, int]) -> None:
    still = file(photo(), "GIF")
    assert inspect(with_screen(still, *size)).pixels == 32 * 24
    assert np.array_equal(picture(with_screen(still, *size)).pixels, picture(still).pixels)
    assert read_screen(first_frame_at(still, 5, 7)) == (37, 31)


def test_a_frame_that_overhangs_the_screen_is_clipped() -> None:
    data = bytearray(moving("GIF", 3))
    at = data.rindex(b"\x2c" + struct.pack("<4H", 0, 0, 32, 24))
    struct.pack_into("<HH", data, at + 1, 10, 4)
    overhanging = bytes(data)
    header = inspect(overhanging)
    assert (header.width, header.height, header.frames) == (32, 24, 3)
    last = [frame.pixels for frame in decode(overhanging).pictures][-1]
    whole = [frame.pixels for frame in decode(moving("GIF", 3)).pictures]
    assert last.shape == (24, 32, 3)
    assert np.array_equal(last[4:, 10:], whole[2][:20, :22])
    assert np.array_equal(last[:4], whole[1][:4])


def test_only_the_size_of_the_screen_is_changed() -> None:
    data = moving("GIF", 3)
    assert widen_screen(data) == data
    assert widen_screen(with_screen(data, 0, 0)) == data


@pytest.mark.parametrize("end", [6, 10, 12])
def test_a_file_shorter_than_its_header_is_refused(end: int) -> None:
    with pytest.raises(CorruptImage, match="the header of the gif image is broken"):
        inspect(file(photo(), "GIF")[:end])
