import imagecodecs
import numpy as np
import pytest

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.jpeg_segments import read_frame
from service.imaging.codecs.jpeg_twelve_bit import declare_eight_bits, decode_scans, is_twelve_bit, read_twelve_bit
from tests.service.imaging.codecs.samples import deep_photo
from tests.service.imaging.images import file, photo

DEEP = deep_photo(height=48, width=64) >> 4
RGB = bytes(imagecodecs.jpeg8_encode(DEEP, 100, bitspersample=12))
GREY = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(DEEP[..., 0]), 100, bitspersample=12))
PLAIN = file(photo(), "JPEG")


def test_samples_of_twelve_bits_are_known() -> None:
    assert is_twelve_bit(RGB)
    assert not is_twelve_bit(PLAIN)
    assert read_frame(declare_eight_bits(RGB)).precision == 8
    assert declare_eight_bits(PLAIN) == PLAIN


def test_values_are_read_over_their_whole_range() -> None:
    read = read_twelve_bit(GREY)
    assert read.shape == (48, 64)
    assert np.abs(read - DEEP[..., 0] * (65_535 / 4095)).max() < 200
    white = np.full((16, 16), 4095, np.uint16)
    assert (read_twelve_bit(bytes(imagecodecs.jpeg8_encode(white, 100, bitspersample=12))) == 65_535).all()


def test_cmyk_is_inverted() -> None:
    inks = np.full((16, 16, 4), 4095, np.uint16)
    inks[..., 1] = 0
    stored = imagecodecs.jpeg8_encode(inks, 100, colorspace="CMYK", outcolorspace="CMYK", bitspersample=12)
    assert read_twelve_bit(bytes(stored))[8, 8].tolist() == [0, 65_535, 0, 0]


@pytest.mark.parametrize("whole", [RGB, GREY])
def test_missing_pixels_are_noticed(whole: bytes) -> None:
    for left in (0.3, 0.6, 0.9):
        cut = whole[: int(len(whole) * left)]
        for broken in (cut, cut + b"\xff\xd9"):
            with pytest.raises(CorruptImage, match="last pixels"):
                read_twelve_bit(broken)


def test_missing_end_marker_is_no_fault() -> None:
    assert np.array_equal(decode_scans(RGB[:-2]), decode_scans(RGB))
    assert np.array_equal(decode_scans(RGB + b"what follows"), decode_scans(RGB))


def test_number_of_scans_is_bounded() -> None:
    scan = GREY[GREY.index(b"\xff\xda") : -2]
    with pytest.raises(UnsupportedImage, match="64 scans"):
        decode_scans(GREY[:-2] + scan * 64 + b"\xff\xd9")


def test_lossless_jpeg_is_unsupported() -> None:
    lossless = GREY.replace(b"\xff\xc1", b"\xff\xc3", 1)
    with pytest.raises(UnsupportedImage, match="SOF3"):
        read_twelve_bit(lossless)
