import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs import ImageFormat, decode, inspect
from service.imaging.codecs.cicp import PRIMARIES
from service.imaging.codecs.colour import srgb_profile
from service.imaging.codecs.hdr import HdrColours, HdrTransfer
from service.imaging.codecs.jxl import MAX_BOXES, MAX_METADATA_BYTES, ColourModel, read_colours, read_file
from service.imaging.masks import Mask
from tests.service.imaging.codecs.samples import DISPLAY_P3, XMP, adobe_rgb, rgb_profile
from tests.service.imaging.images import file, photo

SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
FILE_TYPE = struct.pack(">I4s4sI4s", 20, b"ftyp", b"jxl ", 0, b"jxl ")
SIZE_32_24 = ((1, 1), (2, 5), (0, 3), (3, 5))
"""8 × (1 + 2) high, no ratio, 8 × (1 + 3) wide."""


def jxl(pixels: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, **{"lossless": True, **options}))


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def container(*boxes: bytes) -> bytes:
    return SIGNATURE + FILE_TYPE + b"".join(boxes)


def bits(*numbers: tuple[int, int]) -> bytes:
    """A codestream of these numbers, each with its count of bits."""
    value, place = 0, 0
    for number, count in numbers:
        value |= number << place
        place += count
    return b"\xff\x0a" + value.to_bytes(place // 8 + 1, "little") + bytes(4)


def header(*, extra_fields: Iterable[tuple[int, int]] = (), rest: Iterable[tuple[int, int]] = ()) -> bytes:
    """A codestream of 32×24 pixels: what follows its size; and what follows its depth of 8 bits."""
    fields = tuple(extra_fields)
    shown = ((1, 1), *fields) if fields else ((0, 1),)
    return bits(*SIZE_32_24, (0, 1), *shown, (0, 1), (0, 2), (1, 1), *rest)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_are_those_that_were_written(channels: int, dtype: type[np.unsignedinteger[Any]]) -> None:
    stored = np.dstack([photo(1), photo(2)[..., :1]])[..., [0, 3] if channels == 2 else range(channels)].astype(dtype)
    stored = np.ascontiguousarray(stored[..., 0] if channels == 1 else stored) * dtype(257 if dtype == np.uint16 else 1)
    data = jxl(stored)
    found = inspect(data)
    assert (found.format, found.width, found.height, found.frames) == (ImageFormat.JXL, 32, 24, 1)
    assert (found.grey, found.has_alpha, found.lossless) == (channels < 3, channels in (2, 4), True)
    assert found.depth == (8 if dtype == np.uint8 else 16)
    if dtype == np.uint16:
        return  # the encoder declares them linear, see below
    (picture,) = decode(data).pictures
    colours = np.stack([stored if channels == 1 else stored[..., 0]] * 3, axis=-1) if channels < 3 else stored[..., :3]
    if channels in (2, 4):
        assert picture.alpha is not None
        assert np.array_equal(picture.alpha, stored[..., -1])
    opaque = picture.alpha != 0 if picture.alpha is not None else np.full((24, 32), fill_value=True)
    assert np.array_equal(picture.pixels[opaque], colours[opaque])


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (8, 16), (256, 256), (9, 257), (600, 1)])
def test_size_is_read(size: tuple[int, int]) -> None:
    assert inspect(jxl(photo(0, *size))).upright_size == size


@pytest.mark.parametrize(("ratio", "width"), [(1, 24), (2, 28), (3, 32), (4, 36), (5, 42), (6, 30), (7, 48)])
def test_width_may_be_a_ratio(ratio: int, width: int) -> None:
    assert read_file(bits((1, 1), (2, 5), (ratio, 3), (1, 1))).header.upright_size == (24, width)


def test_largest_size_is_read_before_anything_is_decoded() -> None:
    found = inspect(bits((0, 1), (3, 2), (2**30 - 1, 30), (0, 3), (3, 2), (2**30 - 1, 30), (1, 1)))
    assert found.pixels == 2**60


def test_lossy_file_becomes_a_jpeg() -> None:
    found = inspect(jxl(photo(), lossless=False, level=95))
    assert (found.lossless, found.default_output_format) == (False, ImageFormat.JPEG)


@pytest.mark.parametrize("count", [1, 4, 10, 12, 14])
def test_values_of_other_depths_are_scaled(count: int) -> None:
    most = 2**count - 1
    dtype = np.uint8 if count <= 8 else np.uint16
    stored = np.rint(photo()[..., 0] * (most / 255)).astype(dtype)
    data = jxl(stored, bitspersample=count)
    (picture,) = decode(data, keep_16_bit=True).pictures
    assert picture.pixels.dtype == dtype
    if count <= 8:
        assert np.array_equal(picture.pixels[..., 0], np.rint(stored * (255 / most)))
    else:
        assert picture.pixels.max() > 50_000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, "Ansel"
    jpeg = file(photo(0, 24, 40), "JPEG", quality=95, subsampling=0, exif=exif)
    data = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg))
    expected = decode(jpeg)
    found = decode(data)
    assert inspect(data).upright_size == inspect(jpeg).upright_size == ((40, 24) if orientation > 4 else (24, 40))
    assert not inspect(data).lossless
    picture, upright = next(found.pictures).pixels, next(expected.pictures).pixels
    assert np.abs(picture.astype(int) - upright).mean() < 1
    assert found.metadata.exif[0x013B] == "Ansel"


@pytest.mark.parametrize("profile", [adobe_rgb(), rgb_profile(DISPLAY_P3)])
def test_profile_of_a_jpeg_is_kept(profile: bytes) -> None:
    data = bytes(imagecodecs.jpegxl_encode_jpeg(file(photo(), "JPEG", icc_profile=profile)))
    assert decode(data).space.profile == profile


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("profile", [adobe_rgb(), rgb_profile(DISPLAY_P3, 1.8)])
def test_colours_are_those_that_libvips_reads(profile: bytes, lossless: bool, tmp_path: Path) -> None:
    """By an ICC profile: kept where values are stored exactly, else converted to sRGB."""
    vips = shutil.which("vips")
    if vips is None:
        pytest.skip("libvips is not installed")
    (tmp_path / "in.png").write_bytes(file(photo(1, 64, 96), icc_profile=profile))
    options = ["--lossless"] if lossless else ["--Q", "100"]
    subprocess.run([vips, "jxlsave", tmp_path / "in.png", tmp_path / "in.jxl", *options], check=True)
    subprocess.run([vips, "icc_transform", tmp_path / "in.png", tmp_path / "out.png", "srgb"], check=True)
    image = decode((tmp_path / "in.jxl").read_bytes())
    assert image.space.profile == (profile if lossless else srgb_profile())
    shown = image.space.to_srgb(next(image.pictures).pixels)
    expected = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    assert np.abs(shown.astype(int) - expected).mean() < (0.6 if lossless else 3)


SRGB, GREY = ((0, 2),), ((1, 2),)
D65_WHITE = ((1, 2),)
P3 = ((2, 2), (9, 4))
TRANSFER_SRGB = ((2, 2), (11, 4))


def colours(*numbers: tuple[int, int]) -> bytes:
    """A file that stores its colours exactly and declares them so."""
    return header(rest=((0, 2), (0, 1), (0, 1), (0, 1), *numbers))


def test_declared_colours_are_read() -> None:
    found = read_file(colours(*SRGB, *D65_WHITE, *P3, (0, 1), *TRANSFER_SRGB)).header
    assert (found.colours.code, found.colours.transfer) == (12, 13)
    profile = read_colours(b"", found)
    assert isinstance(profile, bytes)
    hdr = read_file(colours(*SRGB, *D65_WHITE, (2, 2), (7, 4), (0, 1), (2, 2), (14, 4))).header
    bt2100 = read_colours(b"", hdr)
    assert isinstance(bt2100, HdrColours)
    assert bt2100.transfer is HdrTransfer.PQ
    assert read_colours(b"", read_file(colours(*SRGB, *D65_WHITE, (1, 2), (0, 1), *TRANSFER_SRGB)).header) is None
    grey = read_file(colours(*GREY, *D65_WHITE, (1, 1), (4_545_455, 24))).header
    assert (grey.is_grey, round(grey.colours.gamma or 0, 5)) == (True, 0.45455)
    assert isinstance(read_colours(b"", grey), bytes)


def custom(x: float, y: float) -> tuple[tuple[int, int], ...]:
    """A chromaticity of up to 0.26 on each axis; signs are in the lowest bit."""
    return tuple(number for value in (x, y) for number in ((0, 2), (round(value * 2 * 10**6), 19)))


def test_primaries_of_a_files_own_are_read() -> None:
    points = (0.25, 0.1), (0.2, 0.26), (0.1, 0.05)
    numbers = (*D65_WHITE, (2, 2), (0, 4), *(n for point in points for n in custom(*point)), (1, 1), (5_000_000, 24))
    found = read_file(colours(*SRGB, *numbers)).header
    assert found.colours.primaries == PRIMARIES[1]._replace(red=points[0], green=points[1], blue=points[2])
    assert found.colours.primaries.white == PRIMARIES[1].white
    assert isinstance(read_colours(b"", found), bytes)
    flat = (*D65_WHITE, (2, 2), (0, 4), *(n for _ in range(3) for n in custom(0.1, 0.1)), (1, 1), (5_000_000, 24))
    with pytest.raises(CorruptImage, match="primaries"):
        read_colours(b"", read_file(colours(*SRGB, *flat)).header)


def test_linear_16_bits_become_srgb() -> None:
    """As the encoder of the tests declares them."""
    stored = (photo()[..., 0].astype(float) / 255) ** 2.2 * 65_535
    image = decode(jxl(np.stack([stored.astype(np.uint16)] * 3, axis=-1)), keep_16_bit=True)
    assert image.space.is_srgb
    assert np.abs(next(image.pictures).pixels[..., 0] / 257 - photo()[..., 0]).mean() < 2


def test_size_to_show_and_preview_are_skipped() -> None:
    fields = ((5, 3), (1, 1), *SIZE_32_24, (1, 1), (0, 1), (0, 2), (5, 6), (1, 3), (0, 1))
    found = read_file(header(extra_fields=fields, rest=((0, 2), (1, 1), (1, 1)))).header
    assert (found.orientation, found.upright_size, found.xyb) == (6, (32, 24), True)
    assert found.colours.model is ColourModel.RGB


def test_animation_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="animated JPEG XL is not accepted; send one frame"):
        inspect(jxl(np.stack([photo(), photo(1)])))


def test_unusual_pixels_are_refused() -> None:
    for data, words in (
        (jxl(photo().astype(np.float32) / 255), "floating point"),
        (header(rest=((1, 2), (0, 1), (1, 2), (0, 1), (0, 2), (0, 2), (0, 2))), "other channels"),
        (header(rest=((3, 2), (4000, 12))), "other channels"),
        (header(rest=((1, 2), (0, 1), (0, 2), (0, 1), (1, 2), (0, 2), (0, 2), (0, 1), (1, 1), (1, 1))), "other bits"),
    ):
        with pytest.raises(UnsupportedImage, match=words) as failure:
            inspect(data)
        assert "image/jxl" in failure.value.members["accepted"]


def test_metadata_is_read_plain_and_compressed() -> None:
    exif = Image.Exif()
    exif[0x013B] = "Ansel"
    stored = b"\0\0\0\0" + exif.tobytes()[6:]
    codestream, xmp = jxl(photo()), XMP
    plain = container(box(b"Exif", stored), box(b"xml ", xmp), box(b"jxlc", codestream))
    compressed = container(
        box(b"jxlc", codestream),
        box(b"brob", b"Exif" + bytes(imagecodecs.brotli_encode(stored))),
        box(b"brob", b"xml " + bytes(imagecodecs.brotli_encode(xmp))),
    )
    for data in (plain, compressed):
        image = decode(data)
        assert image.metadata.exif[0x013B] == "Ansel"
        assert image.metadata.xmp == xmp
        assert np.array_equal(next(image.pictures).pixels, photo())  # whatever orientation EXIF and XMP claim


def test_damaged_metadata_is_left_out() -> None:
    bomb = bytes(imagecodecs.brotli_encode(bytes(MAX_METADATA_BYTES + 1)))
    for content in (b"brob", b"Exifnot brotli", b"xml " + bomb):
        data = container(box(b"jxlc", jxl(photo())), box(b"brob", content))
        image = decode(data)
        assert image.metadata.xmp is None
        assert np.array_equal(next(image.pictures).pixels, photo())


def test_codestream_may_come_in_parts() -> None:
    whole = jxl(photo())
    parts = [box(b"jxlp", struct.pack(">I", 0) + whole[:7]), box(b"jxlp", struct.pack(">I", 2**31 + 1) + whole[7:])]
    data = container(*parts)
    assert inspect(data).upright_size == (24, 32)
    assert np.array_equal(next(decode(data).pictures).pixels, photo())


def test_mask_may_be_a_jpeg_xl() -> None:
    assert np.array_equal(Mask.decode(jxl(photo()[..., 0])).plane[..., 0], photo()[..., 0])


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\x0a",
        b"\xff\x0a\x00",
        container(),
        container(box(b"jxlc", b"no codestream")),
        container(struct.pack(">I4s", 4, b"jxlc")),
        container(*[box(b"free", b"")] * MAX_BOXES),
    ],
)
def test_broken_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptImage):
        inspect(data)


def test_truncated_pixels_are_corrupt() -> None:
    data = jxl(photo(0, 200, 300))
    assert inspect(data[: len(data) // 2]).pixels == 60_000
    with pytest.raises(CorruptImage):
        decode(data[: len(data) // 2])
