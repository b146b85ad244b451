import pytest

from service.errors import CorruptImage
from service.imaging.codecs import inspect, read_quantization
from tests.service.imaging.images import file, photo


def test_tables_are_those_of_the_file() -> None:
    coarse, fine = (file(photo(), "JPEG", quality=quality) for quality in (30, 90))
    tables = [read_quantization(data, inspect(data)) for data in (coarse, fine)]
    assert [sorted(found) for found in tables] == [[0, 1], [0, 1]]
    assert all(len(table) == 64 for found in tables for table in found.values())
    assert sum(tables[0][0]) > sum(tables[1][0])


def test_other_formats_have_none() -> None:
    png = file(photo())
    assert read_quantization(png, inspect(png)) == {}


def test_broken_header_is_a_corrupt_image() -> None:
    data = file(photo(), "JPEG")
    with pytest.raises(CorruptImage):
        read_quantization(data[:20], inspect(data))
