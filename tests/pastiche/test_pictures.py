import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from pastiche.pictures import read_source, to_array, to_image
from service.imaging.codecs import decode
from tests.service.imaging.images import file, photo


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "HSV", "YCbCr", "RGBa", "La", "PA", "RGBX"])
def test_image_in_memory_becomes_a_lossless_file(mode: str) -> None:
    base = Image.fromarray(photo())
    image = {"RGBa": lambda: base.convert("RGBA"), "La": lambda: base.convert("LA")}.get(mode, lambda: base)()
    image = image.convert(mode)
    stored = Image.open(io.BytesIO(read_source(image)))
    straight = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode))
    np.testing.assert_array_equal(np.asarray(stored.convert("RGB")), np.asarray(straight.convert("RGB")))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_byte_order_of_grey_does_not_matter(mode: str) -> None:
    levels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    image = Image.frombytes(mode, (4, 3), levels.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    image.info["icc_profile"] = b"profile"
    stored = Image.open(io.BytesIO(read_source(image)))
    np.testing.assert_array_equal(np.asarray(stored), levels)
    assert stored.info["icc_profile"] == b"profile"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_opened_image_is_turned_as_its_file_is(kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    given = file(photo(), kind, exif=exif)
    expected = next(decode(given).pictures).pixels
    opened = Image.open(io.BytesIO(given))
    for _ in ("not yet loaded", "loaded"):
        np.testing.assert_allclose(next(decode(read_source(opened)).pictures).pixels, expected, atol=1)


@pytest.mark.parametrize(
    "info",
    [
        {"exif": b"Exif\0\0no TIFF file"},
        {"exif": b"Exif\0\0II*\0"},
        {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\xff\xff\xff\xff\0\0\0\0"},
        {"xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'},
    ],
)
def test_orientation_that_is_broken_or_only_in_xmp_does_not_count(info: dict[str, bytes]) -> None:
    image = Image.fromarray(photo())
    image.info.update(info)
    np.testing.assert_array_equal(next(decode(read_source(image)).pictures).pixels, photo())
    assert image.info == info


def test_image_made_of_a_lossy_tiff_is_not_compressed_as_that_was() -> None:
    image = Image.fromarray(photo()).convert("CMYK")
    image.info["compression"] = "jpeg"
    stored = Image.open(io.BytesIO(read_source(image)))
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(image))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"mode {mode} is not accepted; these are: 1, L"):
        read_source(Image.new(mode, (3, 3)))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), np.uint8),
        np.zeros((3, 4, 2), np.uint16),
        np.zeros((3, 4, 4), np.float64),
        np.zeros((2_000, 1, 3), np.uint8),
    ],
)
def test_array_becomes_a_file_with_its_channels(array: Any) -> None:
    decoded = decode(read_source(array), keep_grey=True, keep_16_bit=True)
    assert next(decoded.pictures).pixels.dtype == (np.uint8 if array.dtype == np.uint8 else np.uint16)
    assert decoded.header.has_alpha == (array.shape[2:] in ((2,), (4,)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8), "of shape"),
        (np.zeros((0, 4, 3), np.uint8), "of shape"),
        (np.zeros((2, 3, 4, 3), np.uint8), "of shape"),
        (np.zeros((3, 4), np.int32), "uint8, uint16, and floats"),
        (np.full((3, 4), 255.0), "from 0 to 1; these go from 255 to 255"),
        (np.full((3, 4), np.nan), "from 0 to 1; these go from nan"),
    ],
)
def test_other_arrays_are_refused(array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_source(array)


@pytest.mark.parametrize("kind", [">u2", "<u2", ">f4"])
def test_byte_order_of_an_array_does_not_matter(kind: str) -> None:
    levels = photo().astype(np.uint16) * 257
    given = (levels if kind.endswith("u2") else levels / 65535).astype(kind)
    file = read_source(given)
    assert file == read_source(given.astype(given.dtype.newbyteorder("=")))
    decoded = decode(file, keep_16_bit=True)
    answer = to_array(next(decoded.pictures), decoded, given)
    assert answer.dtype == given.dtype
    np.testing.assert_allclose(answer, given, rtol=1e-6)


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="int is no image; a path"):
        read_source(3)


def test_answer_has_the_type_of_what_was_given() -> None:
    file = read_source(photo())
    decoded = decode(file)
    [picture] = decoded.pictures
    assert to_image(picture, decoded).mode == "RGB"
    assert to_array(picture, decoded, photo()).shape == photo().shape
    assert to_array(picture, decoded, np.zeros((1, 1, 4))).shape[2] == 4
