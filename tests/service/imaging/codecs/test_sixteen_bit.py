import sys

import imagecodecs
import numpy as np
import pytest

from service.imaging.codecs.sixteen_bit import read_png, write_png
from tests.service.imaging.codecs.samples import chunk, deep_photo, png


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_value_is_read(channels: int) -> None:
    pixels = deep_photo(channels=channels).squeeze()
    assert len(np.unique(pixels & 255)) > 50
    assert np.array_equal(read_png(png(pixels)), pixels)


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("shape", [(1, 1), (2_000, 1), (2_000, 2, 3), (1, 2_000, 4), (300, 200, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_noise_of_any_shape_is_written(dtype: type[np.uint8 | np.uint16], shape: tuple[int, ...], level: int) -> None:
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    assert np.array_equal(imagecodecs.png_decode(write_png(noise, level)), noise)


def test_transparent_colour_of_a_png_is_alpha() -> None:
    pixels = deep_photo()
    result = read_png(png(pixels, chunk(b"tRNS", pixels[0, 0].astype(">u2").tobytes())))
    assert result[..., 3].min() == result[0, 0, 3] == 0
    assert np.array_equal(result[..., :3], pixels)


def test_damaged_files_take_no_references_from_none() -> None:
    """Each of them would take one. What else the process gives up meanwhile, by a garbage collection say, is less."""
    half, files = png(deep_photo())[:-400], 2000
    before = sys.getrefcount(None)
    for _ in range(files):
        with pytest.raises(imagecodecs.PngError):
            read_png(half)
    assert sys.getrefcount(None) > before - files // 2
