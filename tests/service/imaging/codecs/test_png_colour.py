import struct
import zlib

import numpy as np
import pytest

from service.errors import UnsupportedImage
from service.imaging.codecs import Pixels, decode
from service.imaging.codecs.hdr import HdrColours, HdrTransfer
from service.imaging.codecs.png_colour import declare_colours
from tests.service.imaging.codecs.samples import adobe_rgb, chunk, deep_photo, encode_picture, moving, picture, png
from tests.service.imaging.images import photo

P3_SRGB, LINEAR = bytes((12, 13, 0, 1)), struct.pack(">I", 100_000)
SRGB_PRIMARIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
P3_PRIMARIES = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
PROFILE = b"Adobe\0\0" + zlib.compress(adobe_rgb())


def chromaticities(values: tuple[int, ...]) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def shown(data: bytes) -> Pixels:
    """What a display of sRGB shows."""
    image = decode(data)
    return image.space.to_srgb(next(image.pictures).pixels)


def filled(*colour: int) -> Pixels:
    return np.full((4, 4, 3), colour, np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_p3_by_code_points_is_kept_with_a_profile(dtype: type) -> None:
    scale = np.iinfo(dtype).max // 255
    red = (filled(220, 60, 40) * np.array(scale)).astype(dtype)
    image = decode(png(red, chunk(b"cICP", P3_SRGB)), keep_16_bit=True)
    assert image.space.profile is not None
    made = next(image.pictures).pixels
    assert np.array_equal(made, red)
    assert np.abs(image.space.to_srgb(made)[0, 0] / scale - (239, 35, 17)).max() <= 1


def test_linear_light_is_converted() -> None:
    assert np.abs(shown(png(filled(128, 128, 128), chunk(b"gAMA", LINEAR))).astype(int) - 188).max() <= 1
    grey = np.full((4, 4), 128, np.uint8)
    assert np.abs(shown(png(grey, chunk(b"gAMA", LINEAR))).astype(int) - 188).max() <= 1
    deep = np.full((4, 4), 128 * 257, np.uint16)
    assert np.abs(shown(png(deep, chunk(b"cICP", b"\1\x08\0\1"))).astype(int) - 188).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "declared", [chunk(b"gAMA", LINEAR), chunk(b"cICP", b"\1\x08\0\1"), chunk(b"cICP", b"\x09\x10\0\1")]
)
def test_sixteen_bits_become_eight_after_their_colours_are_converted(declared: bytes, channels: int) -> None:
    ramp = np.arange(0, 65_536, 8, dtype=np.uint16)[None, :, None].repeat(channels, axis=2)
    data = png(ramp, declared)
    deep, rounded = picture(data, keep_16_bit=True).pixels, picture(data).pixels
    assert np.array_equal(rounded, np.rint(deep / 257))
    assert len(np.unique(rounded)) > 250


def test_declaration_holds_for_frames() -> None:
    data = moving("PNG", 3)
    linear = data[:33] + chunk(b"gAMA", LINEAR) + data[33:]
    means = [np.mean([frame.pixels.mean() for frame in decode(file).pictures]) for file in (data, linear)]
    assert means[1] > means[0] + 20


def test_output_has_the_profile() -> None:
    from service.imaging.codecs import ImageFormat  # noqa: PLC0415

    original = decode(png(photo(), chunk(b"cICP", P3_SRGB)))
    again = decode(encode_picture(next(original.pictures), ImageFormat.PNG, original))
    assert again.space.profile == original.space.profile


def test_precedence() -> None:
    every = {b"cICP": P3_SRGB, b"iCCP": PROFILE, b"sRGB": b"\0", b"gAMA": LINEAR, b"cHRM": chromaticities(P3_PRIMARIES)}
    p3 = declare_colours({b"cICP": P3_SRGB}, is_grey=False)
    assert declare_colours(every, is_grey=False) == p3
    del every[b"cICP"]
    assert declare_colours(every, is_grey=False) == adobe_rgb()
    del every[b"iCCP"]
    assert declare_colours(every, is_grey=False) is None
    del every[b"sRGB"]
    assert declare_colours(every, is_grey=False) not in (None, p3)


@pytest.mark.parametrize(
    "body", [b"", b"\x0c\x0d\0", P3_SRGB + b"\0", b"\2\x0d\0\1", b"\x0c\2\0\1", b"\x0c\x0d\1\1", b"\x0c\x0d\0\2"]
)
def test_code_points_that_say_nothing_are_passed_over(body: bytes) -> None:
    assert declare_colours({b"cICP": body, b"iCCP": PROFILE}, is_grey=False) == adobe_rgb()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"name",
        b"name\0",
        b"name\0\1" + zlib.compress(adobe_rgb()),
        b"\0\0" + zlib.compress(adobe_rgb()),
        b"n" * 80 + b"\0\0" + zlib.compress(adobe_rgb()),
        b"name\0\0no zlib",
        b"name\0\0" + zlib.compress(bytes(200)),
    ],
)
def test_broken_profile_is_passed_over(body: bytes) -> None:
    linear = declare_colours({b"gAMA": LINEAR}, is_grey=False)
    assert linear is not None
    assert declare_colours({b"iCCP": body, b"gAMA": LINEAR}, is_grey=False) == linear


def test_profile_over_a_megabyte_is_used() -> None:
    profile = adobe_rgb() + bytes(3 * 2**20)
    large = len(profile).to_bytes(4) + profile[4:]
    assert declare_colours({b"iCCP": b"x\0\0" + zlib.compress(large)}, is_grey=False) == large


def test_gamma_of_srgb_without_primaries_is_srgb() -> None:
    for value in (43_300, 45_455, 47_700):
        assert declare_colours({b"gAMA": struct.pack(">I", value)}, is_grey=False) is None
    for value in (43_000, 48_000, 55_556):
        assert declare_colours({b"gAMA": struct.pack(">I", value)}, is_grey=False) is not None
    body = {b"gAMA": struct.pack(">I", 45_455), b"cHRM": chromaticities(SRGB_PRIMARIES)}
    assert declare_colours(body, is_grey=False) is not None


@pytest.mark.parametrize("value", [0, 999, 1_000_001, 2**32 - 1])
def test_impossible_gamma_is_passed_over(value: int) -> None:
    assert declare_colours({b"gAMA": struct.pack(">I", value)}, is_grey=False) is None


@pytest.mark.parametrize(
    "values", [(30_000,) * 8, (0,) * 8, (0, 0, *P3_PRIMARIES[2:]), (*P3_PRIMARIES[:6], 2**32 - 1, 0)]
)
def test_impossible_primaries_are_srgb(values: tuple[int, ...]) -> None:
    assert declare_colours({b"gAMA": LINEAR, b"cHRM": chromaticities(values)}, is_grey=False) is None


def test_primaries_alone_say_nothing() -> None:
    assert declare_colours({b"cHRM": chromaticities(P3_PRIMARIES)}, is_grey=False) is None


def test_declaration_after_the_pixels_or_the_palette_is_ignored() -> None:
    plain = png(photo())
    assert np.array_equal(shown(plain[:-12] + chunk(b"gAMA", LINEAR) + plain[-12:]), photo())


def test_high_dynamic_range_is_mapped() -> None:
    declared = declare_colours({b"cICP": b"\x09\x10\0\1"}, is_grey=False)
    assert isinstance(declared, HdrColours)
    assert declared.transfer is HdrTransfer.PQ
    data = png(deep_photo(), chunk(b"cICP", b"\x09\x12\0\1"))
    assert decode(data).space.is_srgb
    assert not np.array_equal(picture(data, keep_16_bit=True).pixels, deep_photo())


def test_narrow_range_is_refused_in_words() -> None:
    with pytest.raises(UnsupportedImage, match="narrow range"):
        decode(png(photo(), chunk(b"cICP", b"\x0c\x0d\0\0")))
