import io

import numpy as np
import pytest
from PIL import Image

from service.imaging.codecs.png import insert_metadata, is_greyscale, read_bit_depth, strip_pixels
from tests.service.imaging.codecs.samples import XMP, camera_exif, chunk, deep_photo, moving, png
from tests.service.imaging.images import file, photo


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_header_fields(channels: int, depth: int) -> None:
    pixels = deep_photo(channels=channels) if depth == 16 else (deep_photo(channels=channels) >> 8).astype(np.uint8)
    data = png(pixels)
    assert read_bit_depth(data) == depth
    assert is_greyscale(data) == (channels < 3)


def test_palette_is_not_greyscale() -> None:
    data = file(Image.fromarray(photo()).quantize(16))
    assert read_bit_depth(data) == 4
    assert not is_greyscale(data)


def test_metadata_after_the_pixels_comes_before_them() -> None:
    whole = png(photo())
    data = whole[:-12] + chunk(b"tEXt", b"Title\0A") + whole[-12:]
    stripped = strip_pixels(data)
    assert stripped == whole[:33] + chunk(b"tEXt", b"Title\0A") + b"\0\0\0\0IDAT"
    assert Image.open(io.BytesIO(stripped)).info["Title"] == "A"


def test_frames_are_stripped() -> None:
    assert strip_pixels(moving("PNG", 3)) == strip_pixels(file(photo()))


@pytest.mark.parametrize(("length", "kept"), [(8, 8), (19, 8), (20, 20), (33, 33), (40, 33)])
def test_truncated_file_is_stripped_as_far_as_it_goes(length: int, kept: int) -> None:
    data = png(photo())
    assert strip_pixels(data[:length]) == data[:kept] + b"\0\0\0\0IDAT"


def test_metadata_of_another_file_is_inserted() -> None:
    source = Image.open(io.BytesIO(file(photo(1), exif=camera_exif(), icc_profile=b"profile")))
    data = insert_metadata(png(photo()), file(source, exif=camera_exif(), icc_profile=b"profile"))
    image = Image.open(io.BytesIO(data))
    assert image.info["icc_profile"] == b"profile"
    assert image.getexif()[271] == "Kamera"
    assert np.array_equal(np.asarray(image), photo())
    assert XMP not in data
