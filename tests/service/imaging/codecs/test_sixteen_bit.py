import sys

import imagecodecs
import numpy as np
import pytest

from service.imaging.codecs.sixteen_bit import read_png
from tests.service.imaging.codecs.samples import chunk, deep_photo, png


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_value_is_read(channels: int) -> None:
    pixels = deep_photo(channels=channels).squeeze()
    assert len(np.unique(pixels & 255)) > 50
    assert np.array_equal(read_png(png(pixels)), pixels)


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
