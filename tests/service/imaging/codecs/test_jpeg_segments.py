import struct

import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs.jpeg_segments import (
    MAX_SEGMENTS,
    FrameHeader,
    declare_precision,
    extract_coding,
    extract_metadata,
    extract_picture,
    insert_segments,
    read_frame,
)
from tests.service.imaging.codecs.samples import adobe_rgb, picture
from tests.service.imaging.images import file, photo

PLAIN = file(photo(), "JPEG")


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


EXIF = segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0")
ICC = segment(0xE2, b"ICC_PROFILE\0\1\1" + adobe_rgb())


def test_segments_beside_the_picture_are_left_out() -> None:
    others = [EXIF, ICC, segment(0xFE, b"comment"), segment(0xE2, b"MPF\0"), segment(0xE5, b"")]
    assert extract_picture(insert_segments(PLAIN, others)) == PLAIN


def test_segments_that_colours_depend_on_are_kept() -> None:
    cmyk = file(Image.fromarray(photo()).convert("CMYK"), "JPEG")
    assert b"Adobe" in cmyk
    assert extract_picture(cmyk) == cmyk
    for short in (segment(0xE0, b"JFIF\0"), segment(0xEE, b"Adobe")):
        assert extract_picture(insert_segments(PLAIN, [short])) == PLAIN


@pytest.mark.parametrize("between", [b"\xff\xff\xff", b"\xff\xe5\0\0", b"\xff\xe5\0\1", b"\xff\0", b"\xff\x01"])
def test_bytes_between_segments_are_skipped(between: bytes) -> None:
    data = insert_segments(PLAIN, [between])
    assert extract_picture(data) == PLAIN
    assert np.array_equal(picture(data).pixels, picture(PLAIN).pixels)


def test_metadata_are_extracted() -> None:
    short = [segment(0xE2, b"ICC_PROFILE\0"), segment(0xE2, b"ICC_PROFILE\0\1"), segment(0xE1, b"Exif")]
    segments, rest = extract_metadata(insert_segments(PLAIN, [EXIF, *short, ICC]))
    assert segments == [EXIF, ICC]
    assert PLAIN.startswith(rest)
    assert len(rest) < len(PLAIN)


@pytest.mark.parametrize("data", [PLAIN[:2], PLAIN[:50], PLAIN[:2] + b"\xff\xd9", b"\xff\xd8\xff\xe0\xff\xff"])
def test_file_without_a_scan_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptImage, match="the header of the jpeg image is broken"):
        extract_picture(data)


def test_too_many_segments_are_refused() -> None:
    with pytest.raises(CorruptImage, match="more than"):
        extract_picture(insert_segments(PLAIN, [segment(0xFE, b"")] * MAX_SEGMENTS))


def test_frame_is_read_and_its_precision_changed() -> None:
    assert read_frame(PLAIN) == FrameHeader(0xC0, 8, 24, 32, 3)
    changed = declare_precision(insert_segments(PLAIN, [EXIF]), 12)
    assert read_frame(changed) == FrameHeader(0xC0, 12, 24, 32, 3)
    assert declare_precision(changed, 8) == insert_segments(PLAIN, [EXIF])


def test_file_without_frame_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="no frame"):
        read_frame(b"\xff\xd8" + segment(0xDA, b""))


def test_coding_has_no_application_segment() -> None:
    assert b"JFIF" not in extract_coding(insert_segments(PLAIN, [EXIF, ICC]))
    assert np.array_equal(picture(extract_coding(PLAIN)).pixels, picture(PLAIN).pixels)
