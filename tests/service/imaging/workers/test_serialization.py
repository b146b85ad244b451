from dataclasses import dataclass
from pickle import PickleBuffer

import numpy as np
import pytest

from service.imaging.pixels import Pixels
from service.imaging.workers.serialization import ALIGNMENT, Pickled, from_bytes, to_parts


@dataclass(frozen=True)
class Picture:
    name: str
    pixels: Pixels
    again: Pixels


def through_bytes(value: object) -> object:
    return from_bytes(memoryview(bytearray(b"".join(to_parts(value)))))


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", [1, (2, b"3")], {"a": 1.5}, np.arange(7, dtype=np.uint16), np.zeros((0, 0, 3), np.uint8)],
)
def test_value_comes_out_as_it_went_in(value: object) -> None:
    result = through_bytes(value)
    assert np.array_equal(result, value) if isinstance(value, np.ndarray) else result == value  # type: ignore[arg-type]
    assert type(result) is type(value)


def test_arrays_are_there_once() -> None:
    pixels: Pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    parts = to_parts(Picture("wave", pixels, pixels))
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), pixels) for part in parts if part)
    content = bytearray(b"".join(parts))
    assert len(content) < pixels.nbytes + 2000
    result = from_bytes(memoryview(content))
    assert isinstance(result, Picture)
    assert np.array_equal(result.pixels, pixels)
    assert result.pixels is result.again
    assert np.shares_memory(result.pixels, np.frombuffer(content, np.uint8))
    assert (result.pixels.ctypes.data - np.frombuffer(content, np.uint8).ctypes.data) % ALIGNMENT == 0
    result.pixels[0, 0] = 9


def test_value_that_passes_through_a_process_is_not_read_there() -> None:
    pixels: Pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    arrived = through_bytes(Pickled.of(Picture("wave", pixels, pixels)))
    assert isinstance(arrived, Pickled)
    there = np.frombuffer(memoryview(arrived.buffers[0]), np.uint8)
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), there) for part in to_parts(arrived) if part)
    passed_on = through_bytes(arrived)
    assert isinstance(passed_on, Pickled)
    result = passed_on.load()
    assert np.array_equal(result.pixels, pixels)
    result.pixels[0, 0] = 9


def test_array_that_cannot_be_written_to_stays_so() -> None:
    pixels = np.zeros(4)
    pixels.flags.writeable = False
    result = through_bytes(pixels)
    assert isinstance(result, np.ndarray)
    assert not result.flags.writeable


def test_array_that_is_not_contiguous_arrives_too() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[::2, ::-1]
    assert np.array_equal(through_bytes(pixels), pixels)  # type: ignore[arg-type]


def test_file_is_a_view_that_cannot_be_written_to() -> None:
    content = bytes(range(256)) * 1000
    view = through_bytes([PickleBuffer(content)])
    assert isinstance(view, list)
    assert bytes(view[0]) == content
    assert view[0].readonly


def test_what_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(TypeError):
        to_parts(memoryview(b""))
