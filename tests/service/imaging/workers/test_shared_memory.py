import os
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleBuffer

import numpy as np
import pytest

from service.imaging.pixels import Pixels
from service.imaging.workers.shared_memory import ALIGNMENT, read_segment, write_segment


@dataclass(frozen=True)
class Picture:
    name: str
    pixels: Pixels
    again: Pixels


def through_memory(value: object) -> object:
    segment = write_segment(value)
    try:
        return read_segment(segment)
    finally:
        os.close(segment)


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", [1, (2, b"3")], {"a": 1.5}, np.arange(7, dtype=np.uint16), np.zeros((0, 0, 3), np.uint8)],
)
def test_value_comes_out_as_it_went_in(value: object) -> None:
    result = through_memory(value)
    assert np.array_equal(result, value) if isinstance(value, np.ndarray) else result == value  # type: ignore[arg-type]
    assert type(result) is type(value)


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_arrays_lie_in_the_segment_once() -> None:
    pixels: Pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    segment = write_segment(Picture("wave", pixels, pixels))
    assert os.fstat(segment).st_size < pixels.nbytes + 2000
    one, other = read_segment(segment), read_segment(segment)
    os.close(segment)
    assert isinstance(one, Picture)
    assert isinstance(other, Picture)
    assert np.array_equal(one.pixels, pixels)
    assert one.pixels is one.again
    assert one.pixels.ctypes.data % ALIGNMENT == 0
    one.pixels[0, 0] = 9
    assert other.pixels[0, 0].tolist() == [9, 9, 9]


def test_array_that_cannot_be_written_to_stays_so() -> None:
    pixels = np.zeros(4)
    pixels.flags.writeable = False
    result = through_memory(pixels)
    assert isinstance(result, np.ndarray)
    assert not result.flags.writeable


def test_array_that_is_not_contiguous_arrives_too() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[::2, ::-1]
    assert np.array_equal(through_memory(pixels), pixels)  # type: ignore[arg-type]


def test_file_is_a_view_that_cannot_be_written_to() -> None:
    content = bytes(range(256)) * 1000
    view = through_memory([PickleBuffer(content)])
    assert isinstance(view, list)
    assert bytes(view[0]) == content
    assert view[0].readonly


def test_nothing_stays_open() -> None:
    before = open_files()
    value = through_memory(np.zeros(1000))
    del value
    assert open_files() == before


def test_what_cannot_be_pickled_leaves_nothing_open() -> None:
    before = open_files()
    with pytest.raises(TypeError):
        write_segment(memoryview(b""))
    assert open_files() == before
