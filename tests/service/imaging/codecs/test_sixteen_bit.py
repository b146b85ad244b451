import numpy as np
import pytest

from service.imaging.codecs.sixteen_bit import read_png, read_tiff
from tests.service.imaging.codecs.samples import chunk, deep_photo, png, tiff

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


def test_transparent_colour_of_a_png_is_alpha() -> None:
    pixels = deep_photo()
    result = read_png(png(pixels, chunk(b"tRNS", pixels[0, 0].astype(">u2").tobytes())))
    assert result[..., 3].min() == result[0, 0, 3] == 0
    assert np.array_equal(result[..., :3], pixels)


def test_planes_of_a_tiff_are_interleaved() -> None:
    pixels = deep_photo()
    separate = tiff(np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_tiff(separate), pixels)


def test_white_is_zero_is_inverted() -> None:
    grey = deep_photo()[..., 0]
    assert np.array_equal(read_tiff(tiff(~grey, photometric="miniswhite")), grey)


def test_premultiplied_alpha_becomes_straight() -> None:
    colours, alpha = deep_photo(), deep_photo(1, channels=1).clip(6000)
    premultiplied = np.rint(colours * (alpha / 65_535)).astype(np.uint16)
    read = read_tiff(tiff(np.dstack([premultiplied, alpha]), photometric="rgb", extrasamples=["assocalpha"]))
    assert np.abs(read[..., :3].astype(int) - colours).max() <= 65_535 / 6000
    assert np.array_equal(read[..., 3], alpha[..., 0])


def test_further_extra_samples_are_dropped() -> None:
    pixels = np.dstack([deep_photo(channels=4), deep_photo(1, channels=2)])
    read = read_tiff(tiff(pixels, photometric="rgb", extrasamples=["unassalpha", "unspecified", "unspecified"]))
    assert np.array_equal(read, pixels[..., :4])
