"""Its functions are tested with files of their kinds in test_jxl.py."""

import imagecodecs
import numpy as np
import pytest

from service.imaging.codecs.libjxl import LibjxlError, decode_as_srgb, read_icc_profile
from tests.service.imaging.codecs.samples import adobe_rgb
from tests.service.imaging.images import file, photo


def test_profile_is_read() -> None:
    jpeg = file(photo(), "JPEG", icc_profile=adobe_rgb())
    assert read_icc_profile(bytes(imagecodecs.jpegxl_encode_jpeg(jpeg))) == adobe_rgb()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_are_decoded_to_srgb(dtype: type[np.unsignedinteger]) -> None:
    pixels = np.empty((24, 32, 3), dtype)
    decode_as_srgb(bytes(imagecodecs.jpegxl_encode(photo(), level=99)), pixels, grey=False)
    shown = pixels if dtype == np.uint8 else pixels / 257
    assert np.abs(shown.astype(int) - photo()).mean() < 2


@pytest.mark.parametrize("shape", [(24, 31, 3), (48, 32, 3)])
def test_pixels_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    data = bytes(imagecodecs.jpegxl_encode(photo(), level=99))
    with pytest.raises(LibjxlError):
        decode_as_srgb(data, np.empty(shape, np.uint8), grey=False)


def test_broken_file_is_refused() -> None:
    for data in (b"", b"\xff\x0a", b"no codestream"):
        with pytest.raises(LibjxlError, match="status"):
            read_icc_profile(data)
