import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from service.imaging.codecs import ImageFormat, decode
from service.imaging.codecs.cicp import CodePoints
from service.imaging.codecs.colour import srgb_profile
from service.imaging.codecs.isobmff import Crop, hide_items, read_bits, read_code_points, read_crop
from service.imaging.codecs.opening import open_metadata
from tests.service.imaging.codecs.isobmff_samples import clean_aperture, with_properties
from tests.service.imaging.codecs.samples import XMP, adobe_rgb, camera_exif, picture
from tests.service.imaging.images import file, photo

PLAIN = file(photo(), "AVIF", quality=100, subsampling="4:4:4")
WHOLE = file(photo(), "AVIF", exif=camera_exif().tobytes(), xmp=XMP)


def with_code_points(data: bytes, primaries: int, transfer: int) -> bytes:
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def test_code_points_of_the_primary_item() -> None:
    assert read_code_points(PLAIN) == CodePoints(1, 13)
    assert read_code_points(with_code_points(PLAIN, 12, 16)) == CodePoints(12, 16)


@pytest.mark.parametrize("name", [b"meta", b"iprp", b"ipco", b"ipma", b"pitm", b"colr", b"nclx"])
def test_without_a_box_there_are_none(name: bytes) -> None:
    assert read_code_points(PLAIN.replace(name, b"free")) is None


def test_bits_of_the_primary_item() -> None:
    deep = bytes(imagecodecs.avif_encode(np.zeros((16, 16, 3), np.uint16), bitspersample=12, level=100))
    assert read_bits(PLAIN) == 8
    assert read_bits(deep) == 12
    assert read_bits(deep.replace(b"pixi", b"free")) == 12
    assert read_bits(deep.replace(b"pixi", b"free").replace(b"av1C", b"free")) == 8


def test_crop_of_the_primary_item() -> None:
    data = with_properties(PLAIN, [clean_aperture(10, 9, right=-3, down=1.5)])
    assert read_crop(data, 32, 24) == Crop(8, 9, 10, 9)
    assert read_crop(data, 12, 24) is None
    assert read_crop(PLAIN, 32, 24) is None
    without_denominator = data.replace(b"\0\0\0\x0a\0\0\0\1", b"\0\0\0\x0a\0\0\0\0")
    assert read_crop(without_denominator, 32, 24) is None


def test_damaged_files_are_read_as_far_as_they_go() -> None:
    generator = np.random.default_rng(0)
    for length in range(0, 400, 3):
        read_code_points(PLAIN[:length])
        read_crop(PLAIN[:length], 32, 24)
        hide_items(WHOLE[:length])
    for _ in range(500):
        data = bytearray(WHOLE)
        data[generator.integers(0, 500)] = generator.integers(0, 256)
        read_code_points(bytes(data))
        assert len(hide_items(bytes(data))) == len(data)


def test_items_are_hidden() -> None:
    assert hide_items(PLAIN) == PLAIN
    shown = {name: open_metadata(hide_items(WHOLE, [name]), ImageFormat.AVIF).info for name in (b"Exif", b"mime")}
    assert "exif" not in shown[b"Exif"]
    assert "xmp" in shown[b"Exif"]
    assert "xmp" not in shown[b"mime"]
    assert "exif" in shown[b"mime"]
    assert np.array_equal(picture(hide_items(WHOLE)).pixels, picture(WHOLE).pixels)


def test_orientation_is_that_of_the_container() -> None:
    turned = XMP.replace(b'tiff:Orientation="1"', b'tiff:Orientation="6"')
    assert b'Orientation="6"' in turned
    assert picture(file(photo(), "AVIF", xmp=turned)).pixels.shape == photo().shape


def test_p3_is_kept_with_a_profile() -> None:
    red: np.ndarray = np.full((16, 16, 3), (220, 60, 40), np.uint8)
    image = decode(with_code_points(file(red, "AVIF", quality=100, subsampling="4:4:4"), 12, 13))
    made = next(image.pictures).pixels
    assert image.space.profile is not None
    assert np.abs(made[8, 8].astype(int) - (220, 60, 40)).max() <= 2
    assert np.abs(image.space.to_srgb(made)[8, 8].astype(int) - (239, 35, 17)).max() <= 3


@pytest.mark.parametrize("codes", [(1, 13), (1, 1), (1, 6), (2, 2), (0, 0), (3, 99)])
def test_srgb_needs_no_profile(codes: tuple[int, int]) -> None:
    image = decode(with_code_points(PLAIN, *codes))
    assert image.space.profile is None
    assert np.array_equal(next(image.pictures).pixels, picture(PLAIN).pixels)


def test_other_light_is_converted_and_high_dynamic_range_mapped() -> None:
    for codes in ((1, 8), (9, 16), (9, 18)):
        image = decode(with_code_points(PLAIN, *codes))
        assert image.space.profile == srgb_profile()
        assert not np.array_equal(next(image.pictures).pixels, picture(PLAIN).pixels)


def test_profile_comes_before_code_points() -> None:
    data = file(photo(), "AVIF", icc_profile=adobe_rgb())
    assert decode(data).space.profile == adobe_rgb()


@pytest.mark.parametrize("damage", [b"\xff\0\0\0", b"\0\0\xff\xff"])
def test_broken_exif_is_left_out(damage: bytes) -> None:
    at = WHOLE.index(b"MM\0*") - 4  # the offset of the TIFF header (ISO/IEC 23008-12, annex A)
    data = WHOLE[:at] + damage + WHOLE[at + 4 :]
    assert np.array_equal(picture(data).pixels, picture(WHOLE).pixels)
    assert decode(data).metadata.xmp == XMP


def test_exif_that_is_no_tiff_is_left_out() -> None:
    data = WHOLE.replace(b"MM\0*", b"junk")
    assert np.array_equal(picture(data).pixels, picture(WHOLE).pixels)
    assert isinstance(decode(data).metadata.exif, Image.Exif)
