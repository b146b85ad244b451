import io

import numpy as np
import pytest
from PIL import Image

from service.photographs.deep import read_png, read_tiff
from service.photographs.metadata import Attached
from service.photographs.tiff import write_tiff
from tests.service.live import photo
from tests.service.photographs.samples import chunk, deep_photo, png, tiff

KINDS = {1: "minisblack", 2: "minisblack", 3: "rgb", 4: "rgb"}


def of_channels(channels: int) -> np.ndarray:
    whole = deep_photo(channels=max(channels, 1))
    return whole[..., 0] if channels == 1 else whole


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_value_is_read(channels: int) -> None:
    pixels = of_channels(channels)
    assert len(np.unique(pixels & 255)) > 50
    assert np.array_equal(read_png(png(pixels)), pixels)
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    for options in ({}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}, {"byteorder": ">"}):
        assert np.array_equal(read_tiff(tiff(pixels, photometric=KINDS[channels], **extra, **options)), pixels)


def test_transparent_colour_of_a_deep_png_is_alpha() -> None:
    pixels = deep_photo()
    result = read_png(png(pixels, chunk(b"tRNS", pixels[0, 0].astype(">u2").tobytes())))
    assert result[..., 3].min() == result[0, 0, 3] == 0
    assert np.array_equal(result[..., :3], pixels)


def test_planes_of_a_tiff_are_put_together() -> None:
    pixels = deep_photo()
    separate = tiff(np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_tiff(separate), pixels)


def test_white_is_zero() -> None:
    grey = deep_photo()[..., 0]
    assert np.array_equal(read_tiff(tiff(~grey, photometric="miniswhite")), grey)


def test_premultiplied_alpha_is_divided_out() -> None:
    colours, alpha = deep_photo(), deep_photo(1, channels=1).clip(6000)
    premultiplied = np.rint(colours * (alpha / 65_535)).astype(np.uint16)
    read = read_tiff(tiff(np.dstack([premultiplied, alpha]), photometric="rgb", extrasamples=["assocalpha"]))
    assert np.abs(read[..., :3].astype(int) - colours).max() <= 65_535 / 6000
    assert np.array_equal(read[..., 3], alpha[..., 0])


def test_further_channels_are_left_out() -> None:
    pixels = np.dstack([deep_photo(channels=4), deep_photo(1, channels=2)])
    read = read_tiff(tiff(pixels, photometric="rgb", extrasamples=["unassalpha", "unspecified", "unspecified"]))
    assert np.array_equal(read, pixels[..., :4])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("size", [(24, 32), (1, 1), (700, 301)])
def test_tiff_is_written_as_others_read_it(channels: int, deep: bool, size: tuple[int, int]) -> None:
    whole = deep_photo(2, *size, channels=max(channels, 1))
    pixels = whole if deep else (whole >> 8).astype(np.uint8)
    pixels = pixels[..., 0] if channels == 1 else pixels
    data = write_tiff(pixels, b"profile " * 20, Attached(Image.Exif(), b"<xmp/>"))
    assert np.array_equal(read_tiff(data), pixels)
    if not deep:
        image = Image.open(io.BytesIO(data))
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info["icc_profile"] == b"profile " * 20
        assert image.info["xmp"] == b"<xmp/>"


def test_photograph_is_compressed() -> None:
    assert len(write_tiff(photo(0, 300, 400), None, Attached(Image.Exif(), b""))) < 300 * 400 * 3 / 3
