import struct

import pytest

from service.errors import CorruptImage
from service.imaging.codecs.tiff_directory import read_directory
from service.imaging.codecs.tiff_layout import Tag
from tests.service.imaging.codecs.tiff_samples import RATIONAL, SHORT, UNDEFINED, make_tiff

WIDTH = Tag.WIDTH


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<"), (True, ">")])
def test_values_are_read(big: bool, order: str) -> None:
    tags = read_directory(make_tiff([bytes(768)], {WIDTH: 16, 700: b"<packet/>" * 9}, big=big, order=order))
    assert tags.integer(WIDTH) == 16
    assert tags.integers(Tag.BITS) == (8, 8, 8)
    assert tags.raw(700) == b"<packet/>" * 9
    assert tags.integers(999) == tags.rationals(999) == ()
    assert (tags.integer(999, 5), tags.raw(999)) == (5, None)
    assert 999 not in tags


def test_fractions_are_read() -> None:
    data = (
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 529, RATIONAL, 2, 26) + bytes(4) + struct.pack("<4I", 1, 2, 3, 4)
    )
    assert read_directory(data).rationals(529) == (0.5, 0.75)
    for broken, what in ((data[:-1], "not in the file"), (data[:-4] + bytes(4), "by zero")):
        with pytest.raises(CorruptImage, match=what):
            read_directory(broken).rationals(529)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ((2, 4, b"16\0\0"), "no whole number"),
        ((12, 1, b"\x10\0\0\0"), "no whole number"),
        ((SHORT, 0, b"\x10\0\0\0"), "0 values"),
        ((SHORT, 2, b"\x10\0\x10\0"), "2 values"),
        ((8, 1, b"\xff\xff\0\0"), "negative"),
        ((SHORT, 2**32 - 1, b"\x08\0\0\0"), "not in the file"),
        ((SHORT, 3, b"\xff\xff\xff\xff"), "not in the file"),
        ((99, 1, b"\x10\0\0\0"), "0 values"),
    ],
)
def test_broken_tag_is_corrupt(entry: tuple[int, int, bytes], what: str) -> None:
    tags = read_directory(make_tiff([bytes(768)], {WIDTH: entry}))
    with pytest.raises(CorruptImage, match=what):
        tags.integer(WIDTH)


def test_number_in_place_of_a_fraction_or_bytes() -> None:
    tags = read_directory(make_tiff([bytes(768)], {700: 5, 701: (UNDEFINED, 2**31, bytes(4))}))
    assert tags.raw(700) is None
    assert tags.raw(701) is None
    assert tags.stored(700) == struct.pack("<I", 5)
    assert tags.stored(701) is tags.stored(999) is None
    with pytest.raises(CorruptImage, match="no fraction"):
        tags.rationals(700)


def test_tag_of_two_values_is_corrupt() -> None:
    entries = [(256, SHORT, 1, 31), (256, SHORT, 1, 32), (257, SHORT, 1, 5), (257, SHORT, 1, 5)]
    data = b"II*\0\x08\0\0\0\4\0" + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    assert read_directory(data).integer(257) == 5
    with pytest.raises(CorruptImage, match="twice"):
        read_directory(data).integer(256)


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0",
        b"II*\0\x08\0\0\0",
        b"II*\0\x08\0\0\0\0\0",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\xff\xff\xff\xff",
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 8,
    ],
)
def test_file_without_directory_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptImage, match="directory"):
        read_directory(data)
