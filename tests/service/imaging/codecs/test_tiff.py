import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from service.imaging.codecs.metadata import OutputMetadata
from service.imaging.codecs.tiff import STRIP_BYTES, write_tiff
from service.imaging.codecs.tiff_reading import read_tiff
from tests.service.imaging.codecs.samples import camera_exif, deep_photo
from tests.service.imaging.images import photo


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("size", [(24, 32), (1, 1), (700, 301)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_is_read_back_by_tifffile_and_pillow(channels: int, deep: bool, size: tuple[int, int], order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    whole = deep_photo(2, *size, channels=max(channels, 1))
    pixels = whole if deep else (whole >> 8).astype(np.uint8)
    pixels = pixels[..., 0] if channels == 1 else pixels
    data = write_tiff(pixels, b"profile " * 20, OutputMetadata(exif, b"<xmp/>"))
    assert data[:2] == {"<": b"II", ">": b"MM"}[order]
    colours, alpha, _ = read_tiff(data)
    assert np.array_equal(colours if alpha is None else np.dstack([colours, alpha]), pixels)
    assert np.array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    if not deep:
        image = Image.open(io.BytesIO(data))
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info["icc_profile"] == b"profile " * 20
        assert image.info["xmp"] == b"<xmp/>"


def test_photo_is_compressed() -> None:
    assert len(write_tiff(photo(0, 300, 400), None, OutputMetadata(Image.Exif(), b""))) < 300 * 400 * 3 / 3


def test_strips_are_of_about_one_size() -> None:
    image = Image.open(io.BytesIO(write_tiff(photo(0, 700, 301), None, OutputMetadata(Image.Exif(), b""))))
    assert image.tag_v2[278] == STRIP_BYTES // (301 * 3)  # type: ignore[attr-defined]
    assert image.info.get("icc_profile") is None


def test_directory_describes_the_pixels_and_not_those_of_the_exif() -> None:
    data = write_tiff(photo(), None, OutputMetadata(camera_exif(), b"<xmp/>"))
    exif = Image.open(io.BytesIO(data)).getexif()
    assert (exif[256], exif[257], exif[271]) == (32, 24, "Kamera")


def test_pixels_may_be_stored_as_they_are() -> None:
    pixels = photo(0, 700, 301)
    data = write_tiff(pixels, None, OutputMetadata(Image.Exif(), b""), compressed=False)
    assert data.endswith(pixels.tobytes())
    image = Image.open(io.BytesIO(data))
    assert image.tag_v2[259] == 1  # type: ignore[attr-defined]
    assert np.array_equal(np.asarray(image), pixels)
