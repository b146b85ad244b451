import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs.png_rows import require_all_rows
from service.imaging.pixels import Pixels
from tests.service.imaging.codecs.samples import chunk, deep_photo, picture, png
from tests.service.imaging.images import photo

WIDTH, HEIGHT = 13, 11

PASS_ORDER = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def interlaced(pixels: Pixels, left_out: int = 0) -> bytes:
    """A PNG of RGB in seven passes, without so many of its last rows."""
    height, width = pixels.shape[:2]
    parts = [pixels[top::down, left::across] for left, top, across, down in PASS_ORDER]
    rows = [b"\0" + row.tobytes() for part in parts if part.size for row in part]
    return build(width, height, 2, b"".join(rows[: len(rows) - left_out]), interlace=1)


def straight(pixels: Pixels, colour_type: int, left_out: int = 0) -> bytes:
    rows = b"".join(b"\0" + row.tobytes() for row in pixels[: len(pixels) - left_out])
    return build(pixels.shape[1], len(pixels), colour_type, rows)


def build(width: int, height: int, colour_type: int, rows: bytes, interlace: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, interlace))
    ends = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + ends


def check(data: bytes) -> None:
    image = Image.open(io.BytesIO(data))
    image.load()
    require_all_rows(image, data)


def sample(*channels: int, value: int | None = None) -> Pixels:
    pixels = np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, *channels), np.uint8)
    return pixels if value is None else np.full_like(pixels, value)


@pytest.mark.parametrize("value", [None, 0, 255])
@pytest.mark.parametrize(("channels", "colour_type"), [((), 0), ((3,), 2), ((2,), 4), ((4,), 6)])
def test_rows_that_are_missing_are_noticed(channels: tuple[int, ...], colour_type: int, value: int | None) -> None:
    pixels = sample(*channels, value=value)
    check(straight(pixels, colour_type))
    for left_out in (1, HEIGHT // 2, HEIGHT - 1):
        with pytest.raises(CorruptImage, match="end before its last row"):
            check(straight(pixels, colour_type, left_out))


@pytest.mark.parametrize("value", [None, 0])
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (1, WIDTH), (HEIGHT, 1), (1, 1), (2, 2), (5, 8)])
def test_rows_of_an_interlaced_image_are_counted(size: tuple[int, int], value: int | None) -> None:
    pixels = sample(3, value=value)[: size[0], : size[1]]
    check(interlaced(pixels))
    with pytest.raises((CorruptImage, OSError)):  # of no row at all, Pillow tells
        check(interlaced(pixels, 1))


def test_bits_are_counted() -> None:
    image = Image.fromarray(photo()).quantize(4)
    stream = io.BytesIO()
    image.save(stream, "PNG", bits=2)
    check(stream.getvalue())


def test_more_rows_than_there_are_do_no_harm() -> None:
    check(build(WIDTH, HEIGHT, 2, bytes(2 * HEIGHT * (1 + 3 * WIDTH))))


@pytest.mark.parametrize("pixels", [photo(), deep_photo()])
def test_an_image_without_its_last_rows_is_refused(pixels: Pixels) -> None:
    whole = png(pixels)
    rows = zlib.decompress(whole[41:-16])
    kept = rows[: len(rows) // len(pixels) * 5]
    short = whole[:33] + chunk(b"IDAT", zlib.compress(kept)) + whole[-12:]
    with pytest.raises(CorruptImage):
        picture(short)
