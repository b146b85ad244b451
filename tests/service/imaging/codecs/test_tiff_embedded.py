import struct
import tracemalloc
import zlib
from collections.abc import Callable, Mapping

import imagecodecs
import numpy as np
import pytest
from tifffile import COMPRESSION

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs import Pixels
from service.imaging.codecs.tiff_embedded import EmbeddedImage, decode_embedded
from service.imaging.codecs.tiff_layout import Tag, read_layout
from tests.service.imaging.codecs.samples import deep_photo, psnr
from tests.service.imaging.codecs.tiff_samples import Value, make_tiff
from tests.service.imaging.images import photo

ENCODERS: Mapping[COMPRESSION, Callable[[Pixels], bytes | bytearray]] = {
    COMPRESSION.JPEG2000: imagecodecs.jpeg2k_encode,
    COMPRESSION.JPEGXL: lambda pixels: imagecodecs.jpegxl_encode(pixels, lossless=True),
    COMPRESSION.LERC: imagecodecs.lerc_encode,
}
EIGHT_BIT_ENCODERS: Mapping[COMPRESSION, Callable[[Pixels], bytes | bytearray]] = {
    COMPRESSION.JPEG: lambda pixels: imagecodecs.jpeg8_encode(pixels, 100, colorspace="RGB", outcolorspace="RGB"),
    COMPRESSION.WEBP: lambda pixels: imagecodecs.webp_encode(pixels, lossless=True),
    **ENCODERS,
}
EXACT = frozenset(EIGHT_BIT_ENCODERS) - {COMPRESSION.JPEG}


def decode(data: bytes, compression: int, bits: int = 8, **tags: Value) -> Pixels:
    """Decode the one strip of a picture of 32×24 pixels."""
    strip: dict[int, Value] = {Tag.WIDTH: 32, Tag.LENGTH: 24, Tag.COMPRESSION: compression, Tag.BITS: bits}
    layout = read_layout(make_tiff([data], strip | {Tag[name]: value for name, value in tags.items()}))
    return decode_embedded(EmbeddedImage(data, layout, 24))


@pytest.mark.parametrize("compression", EIGHT_BIT_ENCODERS)
def test_eight_bits_are_decoded(compression: COMPRESSION) -> None:
    decoded = decode(bytes(EIGHT_BIT_ENCODERS[compression](photo())), compression)
    assert np.array_equal(decoded, photo()) if compression in EXACT else psnr(decoded, photo()) > 40


@pytest.mark.parametrize("compression", ENCODERS)
def test_sixteen_bits_are_decoded(compression: COMPRESSION) -> None:
    assert np.array_equal(decode(bytes(ENCODERS[compression](deep_photo())), compression, 16), deep_photo())


@pytest.mark.parametrize("compression", EIGHT_BIT_ENCODERS)
@pytest.mark.parametrize("size", [(24, 33), (25, 32), (12, 32), (3000, 3000)])
def test_image_of_another_size_takes_no_memory(compression: COMPRESSION, size: tuple[int, int]) -> None:
    data = bytes(EIGHT_BIT_ENCODERS[compression](np.zeros((*size, 3), np.uint8)))
    tracemalloc.start()
    with pytest.raises(CorruptImage, match=f"32×24 pixels holds an image of {size[1]}×{size[0]}"):
        decode(data, compression)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("compression", ENCODERS)
def test_image_of_other_channels_or_depth_is_corrupt(compression: COMPRESSION) -> None:
    for pixels in (photo()[..., 0].copy(), deep_photo()):
        with pytest.raises((CorruptImage, ValueError)):
            decode(bytes(ENCODERS[compression](pixels)), compression)


@pytest.mark.parametrize("compression", EIGHT_BIT_ENCODERS)
def test_anything_else_in_a_strip_is_an_error(compression: COMPRESSION) -> None:
    for data in (b"no image at all, but some text that is long enough", b"\0" * 100):
        with pytest.raises((CorruptImage, struct.error)):
            decode(data, compression)


def test_tables_of_jpeg_may_be_apart() -> None:
    whole = bytes(imagecodecs.jpeg8_encode(photo(), 95))
    scan, tables = whole.index(b"\xff\xc0"), whole.index(b"\xff\xdb")
    apart = whole[:2] + whole[scan:]
    decoded = decode(apart, COMPRESSION.JPEG, JPEG_TABLES=b"\xff\xd8" + whole[tables:scan] + b"\xff\xd9", PHOTOMETRIC=6)
    assert np.array_equal(decoded, imagecodecs.jpeg8_decode(whole))


def test_jpeg_of_twelve_bits_and_of_two_channels() -> None:
    deep = deep_photo() >> 4
    data = bytes(imagecodecs.jpeg8_encode(deep, 100, colorspace="RGB", outcolorspace="RGB", bitspersample=12))
    assert np.abs(decode(data, COMPRESSION.JPEG, 12).astype(int) - deep).max() < 20
    pair = np.ascontiguousarray(photo()[..., :2])
    data = bytes(imagecodecs.jpeg8_encode(pair, 100))
    assert psnr(decode(data, COMPRESSION.JPEG, SAMPLES=2, PHOTOMETRIC=1), pair) > 35


def test_bare_codestream_and_yet_another_box_of_jpeg_2000() -> None:
    boxed = bytes(imagecodecs.jpeg2k_encode(photo()))
    bare = boxed[boxed.index(b"\xff\x4f\xff\x51") :]
    for data in (bare, struct.pack(">I4s", 12, b"free") + bytes(4) + boxed):
        assert np.array_equal(decode(data, COMPRESSION.JPEG2000), photo())


@pytest.mark.parametrize(("around", "pack"), [(0, bytes), (1, zlib.compress), (2, imagecodecs.zstd_encode)])
def test_lerc_may_be_compressed_again(around: int, pack: object) -> None:
    data = bytes(pack(imagecodecs.lerc_encode(photo())))  # type: ignore[operator] # three functions of one shape
    assert np.array_equal(decode(data, COMPRESSION.LERC, LERC_PARAMETERS=[4, around]), photo())


def test_channels_of_lerc_may_be_apart() -> None:
    data = b"".join(bytes(imagecodecs.lerc_encode(photo()[..., i].copy())) for i in range(3))
    assert np.array_equal(decode(data, COMPRESSION.LERC), photo())
    with pytest.raises(ValueError, match="shape"):
        decode(data * 100, COMPRESSION.LERC)


def test_old_lerc_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage, match="LERC of version 2"):
        decode(b"Lerc2 \2" + bytes(60), COMPRESSION.LERC)
