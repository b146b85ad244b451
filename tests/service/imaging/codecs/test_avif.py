import imagecodecs
import numpy as np
import pytest

from service.errors import CorruptImage
from service.imaging.codecs import ImageFormat, decode, inspect
from service.imaging.codecs.avif import read_pixels
from service.imaging.pixels import Pixels
from tests.service.imaging.codecs.isobmff_samples import clean_aperture, mirroring, rotation, with_properties
from tests.service.imaging.codecs.samples import deep_photo, picture, psnr
from tests.service.imaging.images import file, photo

PLAIN = file(photo(), "AVIF", quality=100, subsampling="4:4:4")
"""32 × 24."""


def deep(pixels: Pixels, bits: int = 10) -> bytes:
    return bytes(imagecodecs.avif_encode(pixels >> 16 - bits, bitspersample=bits, level=100))


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [3, 4])
def test_all_bits_are_read(bits: int, channels: int) -> None:
    data, expected = deep(deep_photo(channels=channels), bits), deep_photo(channels=channels)
    assert inspect(data).depth == 16
    shown = picture(data, keep_16_bit=True)
    assert shown.pixels.dtype == np.uint16
    assert np.abs(read_pixels(data)[..., :3].astype(int) - expected[..., :3]).max() <= 2 ** (16 - bits)
    assert (shown.alpha is not None) == (channels == 4)
    assert picture(data).pixels.dtype == np.uint8


def test_white_is_white() -> None:
    white = np.full((16, 16, 3), 65_535, np.uint16)
    assert (picture(deep(white), keep_16_bit=True).pixels == 65_535).all()


def test_deep_grey_stays_grey() -> None:
    grey = deep_photo(channels=1)[..., 0]
    assert inspect(deep(grey)).grey
    assert read_pixels(deep(grey)).shape == grey.shape
    with_alpha = read_pixels(deep(deep_photo(channels=2)))
    assert with_alpha.shape == (*grey.shape, 4)
    assert np.array_equal(with_alpha[..., 0], with_alpha[..., 2])


def test_dark_parts_of_high_dynamic_range_have_no_bands() -> None:
    """Levels of PQ that differ in 10 bits alone are told apart."""
    levels = np.repeat(np.arange(100, 132, dtype=np.uint16)[None, :, None], 24, axis=0).repeat(3, axis=2)
    data = bytes(imagecodecs.avif_encode(levels, bitspersample=10, level=100, primaries=9, transfer=16))
    assert len(np.unique(picture(data, keep_16_bit=True).pixels[0, :, 0])) == 32


def test_clean_aperture_is_what_is_shown() -> None:
    data = with_properties(PLAIN, [clean_aperture(10, 8, right=-3, down=2)])
    assert inspect(data).upright_size == (8, 10)
    assert psnr(picture(data).pixels, photo()[10:18, 8:18]) > 40
    turned = with_properties(PLAIN, [clean_aperture(10, 8, right=-3, down=2), rotation(1), mirroring(1)])
    assert inspect(turned).upright_size == (10, 8)
    assert psnr(picture(turned).pixels, np.rot90(photo()[10:18, 8:18])[:, ::-1]) > 40


def test_deep_picture_is_cropped() -> None:
    data = with_properties(deep(deep_photo()), [clean_aperture(10, 8)])
    assert np.abs(read_pixels(data).astype(int) - deep_photo()[8:16, 11:21]).max() <= 64


@pytest.mark.parametrize("box", [clean_aperture(34, 8), clean_aperture(10, 8, right=12), clean_aperture(9, 8)])
def test_aperture_that_is_none_crops_nothing(box: bytes) -> None:
    assert np.array_equal(picture(with_properties(PLAIN, [box])).pixels, picture(PLAIN).pixels)


def test_truncated_deep_file_is_corrupt() -> None:
    data = deep(deep_photo(height=64, width=64))
    with pytest.raises(CorruptImage):
        next(decode(data[: len(data) * 2 // 3]).pictures)


def test_answer_stays_avif() -> None:
    assert inspect(deep(deep_photo())).default_output_format is ImageFormat.AVIF
