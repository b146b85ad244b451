import io

import numpy as np
import pytest
from PIL import Image

from service.imaging.codecs import ImageFormat, ImageHeader, OutputSpec, decode, encode, inspect
from service.imaging.codecs.picture import DecodedImage, Picture
from service.imaging.codecs.raw import RawPixels, unwrap_pixels, wrap_pixels
from service.imaging.sizes import Size
from tests.service.imaging.images import photo


@pytest.mark.parametrize(("height", "width"), [(24, 32), (1, 1), (301, 700), (1, 3000)])
def test_wrapped_pixels_are_read_as_they_were(height: int, width: int) -> None:
    pixels = photo(1, height, width)
    wrapped = wrap_pixels(memoryview(pixels.tobytes()), Size(height, width))
    assert inspect(wrapped) == ImageHeader(ImageFormat.TIFF, width, height, has_alpha=False)
    assert np.array_equal(next(decode(wrapped, keep_grey=True, keep_16_bit=True).pictures).pixels, pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(wrapped))), pixels)
    assert unwrap_pixels(wrapped) == RawPixels(Size(height, width), 3, memoryview(pixels.tobytes()))


@pytest.mark.parametrize(("height", "width"), [(24, 32), (301, 700)])
def test_written_pixels_are_taken_out_as_they_were(height: int, width: int) -> None:
    pixels = photo(1, height, width)
    original = DecodedImage(ImageHeader(ImageFormat.TIFF, width, height, has_alpha=False), iter(()))
    spec = OutputSpec((ImageFormat.TIFF,), compressed=False)
    content = encode([Picture(pixels)], original, ImageFormat.TIFF, spec)
    assert unwrap_pixels(content) == RawPixels(Size(height, width), 3, memoryview(pixels.tobytes()))


def test_number_of_values_must_be_right() -> None:
    with pytest.raises(ValueError, match="2×1 has 6 values, not 5"):
        wrap_pixels(bytes(5), Size(1, 2))
