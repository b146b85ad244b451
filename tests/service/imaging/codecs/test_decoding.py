import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs import WRITTEN_FORMATS, ImageFormat, decode, inspect
from service.imaging.codecs.colour import adobe_rgb_profile, lab_profile, srgb_profile
from service.imaging.codecs.jpeg_segments import insert_segments
from service.imaging.pixels import apply_orientation
from tests.service.imaging.codecs.samples import (
    DISPLAY_P3,
    chunk,
    deep_photo,
    grey_profile,
    moving,
    picture,
    pictures,
    png,
    psnr,
    rgb_profile,
    tiff,
)
from tests.service.imaging.images import file, photo

JPEG, PNG, WEBP = ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP
WRITTEN = list(WRITTEN_FORMATS)


def with_orientation(image: Image.Image, orientation: int) -> bytes:
    """A PNG with that orientation in its EXIF."""
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    return file(image, exif=exif)


def tiff_of_two_widths() -> bytes:
    """A TIFF whose first ImageWidth, 31, has the type SLONG8, which Pillow skips, and whose second one is 32."""
    data = file(photo(), "TIFF")
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    entries = data[directory + 2 : directory + 2 + 12 * count]
    first = struct.pack("<HHII", Base.ImageWidth, 17, 1, len(data))
    new_directory = struct.pack("<H", count + 1) + first + entries + bytes(4)
    return data[:4] + struct.pack("<I", len(data) + 8) + data[8:] + struct.pack("<Q", 31) + new_directory


@pytest.mark.parametrize("kind", WRITTEN_FORMATS)
def test_truncated_image_is_corrupt(kind: ImageFormat) -> None:
    whole = file(photo(height=200, width=200), kind.name)
    with pytest.raises(CorruptImage):
        pictures(whole[: len(whole) // 2])


def test_what_a_decoder_says_is_told_in_one_line() -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(photo())).save(stream)
    with pytest.raises(CorruptImage, match=r"^[^\n]+; send a complete file$"):
        picture(stream.getvalue()[:-20])


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(WRITTEN_FORMATS), at=st.floats(0, 1), value=st.binary(min_size=1, max_size=8))
def test_damage_gives_a_picture_or_an_error(kind: ImageFormat, at: float, value: bytes) -> None:
    data = bytearray(file(photo(), kind.name))
    position = int(at * (len(data) - len(value)))
    data[position : position + len(value)] = value
    try:
        inspect(bytes(data))
        decoded = picture(bytes(data))
    except (CorruptImage, UnsupportedImage):
        return
    assert decoded.pixels.dtype == np.uint8


def test_photo_with_embedded_previews_is_its_first_picture() -> None:
    multi = file(Image.fromarray(photo(1)), "MPO", save_all=True, append_images=[Image.fromarray(photo(2))])
    assert inspect(multi).format is JPEG
    assert psnr(picture(multi).pixels, photo(1)) > 30


def test_rgb_is_decoded_as_it_is() -> None:
    assert np.array_equal(picture(file(photo())).pixels, photo())
    assert picture(file(photo())).alpha is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    upright = Image.fromarray(photo(height=7, width=5))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # 6 is displayed rotated clockwise, so it was stored rotated back
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    assert np.array_equal(picture(with_orientation(stored, orientation)).pixels, photo(height=7, width=5))


@pytest.mark.parametrize("exif", [b"Exif\x00\x00MM\x00", b"Exif\x00\x00junk that is no TIFF", b"Exif\x00\x00"])
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    assert psnr(picture(file(photo(), "JPEG", exif=exif, quality=95)).pixels, photo()) > 30


def test_grey_becomes_rgb() -> None:
    grey = Image.fromarray(photo()).convert("L")
    assert np.array_equal(picture(file(grey)).pixels, np.stack([np.asarray(grey)] * 3, axis=-1))


def test_bilevel_becomes_rgb() -> None:
    assert set(np.unique(picture(file(Image.fromarray(photo()).convert("1"))).pixels)) <= {0, 255}


def test_sixteen_bit_grey_is_rounded_to_eight() -> None:
    deep = np.array([[0, 128, 129, 32_768, 65_406, 65_407, 65_535]], np.uint16)
    assert picture(file(Image.fromarray(deep))).pixels[0, :, 0].tolist() == [0, 0, 1, 128, 254, 255, 255]


def test_palette_with_transparency_keeps_it() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    data = file(image, transparency=b"\xff\x40")
    assert inspect(data).has_alpha
    shown = picture(data)
    assert shown.pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert shown.alpha is not None
    assert shown.alpha.tolist() == [[255, 64]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_separated(mode: str) -> None:
    image = Image.fromarray(photo()).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    shown = picture(file(image))
    assert shown.alpha is not None
    assert np.array_equal(shown.alpha, np.asarray(image.getchannel("A")))
    visible = shown.alpha > 0
    assert np.array_equal(shown.pixels[visible], np.asarray(image.convert("RGB"))[visible])


def test_transparent_colour_of_rgb_is_alpha() -> None:
    data = file(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert picture(data).alpha == np.array([[0]])


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert picture(file(cyan, "JPEG", quality=100)).pixels[8, 8].tolist() == [0, 255, 255]


def test_grey_is_kept_on_demand() -> None:
    grey = Image.fromarray(photo()).convert("L")
    assert decode(file(grey), keep_grey=True).grey
    assert not decode(file(grey)).grey
    assert not decode(file(photo()), keep_grey=True).grey


def test_grey_is_converted_by_its_profile_where_it_becomes_rgb() -> None:
    grey = Image.fromarray(photo()).convert("L")
    data = file(grey, icc_profile=grey_profile(1.8))
    kept, coloured = decode(data, keep_grey=True), decode(data)
    assert (kept.space.is_grey, coloured.space.profile) == (True, srgb_profile())
    assert np.array_equal(next(kept.pictures).pixels[..., 0], np.asarray(grey))
    assert next(coloured.pictures).pixels.mean() > np.asarray(grey).mean() + 5


@pytest.mark.parametrize("options", [{"icc_profile": grey_profile(1.8)}, {}])
def test_grey_frames_have_the_colours_of_a_grey_picture(options: dict[str, Any]) -> None:
    first, second = (Image.fromarray(photo(seed)).convert("L") for seed in range(2))
    moving_grey = decode(file(first, save_all=True, append_images=[second], **options))
    still = decode(file(first, **options))
    assert moving_grey.space == still.space
    assert np.array_equal(next(moving_grey.pictures).pixels, next(still.pictures).pixels)


def test_adobe_rgb_is_recognized_by_exif_alone() -> None:
    exif = Image.Exif()
    exif[IFD.Exif] = {Base.ColorSpace: 65_535, IFD.Interop: {1: "R03"}}
    assert decode(file(photo(), "JPEG", exif=exif)).space.profile == adobe_rgb_profile()
    own = file(photo(), "JPEG", exif=exif, icc_profile=rgb_profile(DISPLAY_P3))
    assert decode(own).space.profile == rgb_profile(DISPLAY_P3)
    exif[IFD.Exif] = {Base.ColorSpace: 1, IFD.Interop: {1: "R98"}}
    assert decode(file(photo(), "JPEG", exif=exif)).space.profile is None


def test_wide_colours_are_not_clipped() -> None:
    profile = rgb_profile(DISPLAY_P3)
    photograph = decode(file(photo(), icc_profile=profile))
    assert photograph.space.profile == profile
    assert np.array_equal(next(photograph.pictures).pixels, photo())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_kept_on_demand(channels: int) -> None:
    pixels = deep_photo(channels=channels).clip(1)
    kinds = {1: "minisblack", 2: "minisblack", 3: "rgb", 4: "rgb"}
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    for data in (png(pixels), tiff(pixels if channels > 1 else pixels[..., 0], photometric=kinds[channels], **extra)):
        deep, rounded = picture(data, keep_grey=True, keep_16_bit=True), picture(data, keep_grey=True)
        expected = np.broadcast_to(pixels[..., :1], (24, 32, 3)) if channels < 3 else pixels[..., :3]
        assert np.array_equal(deep.pixels, expected)
        assert rounded.pixels.dtype == np.uint8
        assert np.array_equal(rounded.pixels, np.rint(expected / 257))
        assert (deep.alpha is None) == (channels in (1, 3))
        if deep.alpha is not None and rounded.alpha is not None:
            assert np.array_equal(deep.alpha, pixels[..., -1])
            assert np.array_equal(rounded.alpha, np.rint(pixels[..., -1] / 257))


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_to_sixteen_bits(orientation: int) -> None:
    pixels = deep_photo(height=7, width=5)
    stored = np.rot90(pixels, 2 if orientation == 3 else 1)
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    turned_tiff = tiff(stored, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    for data in (png(stored, chunk(b"eXIf", exif.tobytes()[6:])), turned_tiff):
        assert np.array_equal(picture(data, keep_16_bit=True).pixels, pixels)


def test_small_bit_depths() -> None:
    grey = np.arange(16, dtype=np.uint8)[None].repeat(4, axis=0)
    for bits in (1, 2, 4):
        values = grey >> (4 - bits)
        image = Image.fromarray(values * (255 // (2**bits - 1)))
        assert np.array_equal(picture(file(image, bits=bits)).pixels[..., 0], np.asarray(image))


def test_cmyk_of_a_jpeg_is_inverted_with_and_without_adobes_marker() -> None:
    """0 is full ink, as Adobe writes it; libvips, ImageMagick and Pillow read every CMYK JPEG so."""
    red = np.zeros((16, 16, 4), np.uint8)
    red[..., 1:3] = 255  # full magenta and yellow
    adobe = file(Image.fromarray(red, "CMYK"), "JPEG", quality=100)
    marker = adobe.find(b"\xff\xee")
    length = int.from_bytes(adobe[marker + 2 : marker + 4], "big")
    plain = adobe[:marker] + adobe[marker + 2 + length :]
    assert b"Adobe" in adobe
    assert b"Adobe" not in plain
    assert picture(adobe).pixels[8, 8].tolist() == picture(plain).pixels[8, 8].tolist() == [255, 0, 0]


def test_image_of_two_sizes_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="twice"):
        inspect(tiff_of_two_widths())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [True, False])
def test_orientation_of_a_tiff_is_applied_once(orientation: int, deep: bool) -> None:
    pixels = deep_photo() if deep else photo()
    data = tiff(pixels, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    assert np.array_equal(picture(data, keep_16_bit=True).pixels, apply_orientation(pixels, orientation))


@pytest.mark.parametrize("deep", [True, False])
def test_cmyk_and_alpha_of_a_tiff(deep: bool) -> None:
    inks = np.zeros((24, 32, 5), np.uint16 if deep else np.uint8)
    full = np.iinfo(inks.dtype).max
    inks[..., 1:3], inks[:, 16:, 4] = full, full
    shown = picture(tiff(inks, photometric="separated", extrasamples=["unassalpha"]), keep_16_bit=True)
    assert shown.pixels[0, 20].tolist() == [full, 0, 0]
    assert shown.alpha is not None
    assert shown.alpha[0, [0, 20]].tolist() == [0, full]


def test_cmyk_of_a_tiff_is_converted_by_its_formula() -> None:
    inks = deep_photo(channels=4)
    shown = picture(tiff(inks, photometric="separated"), keep_16_bit=True).pixels
    paper = 1 - inks / 65_535
    assert np.abs(shown - paper[..., :3] * paper[..., 3:] * 65_535).max() < 2


@pytest.mark.parametrize(("kind", "full"), [("cielab", 65_535), ("icclab", 65_280)])
def test_lab_of_sixteen_bits_is_exact(kind: str, full: int) -> None:
    """Compared with the formulas of CIELAB, and the matrix of sRGB for D50."""
    lab = np.array([[[50, 40, 10], [100, 0, 0], [80, -20, 30], [0, 0, 0], [60, 5, -30]]], float)
    stored = np.rint(np.dstack([lab[..., 0] * full / 100, lab[..., 1:] * 256 + (32_768 if kind == "icclab" else 0)]))
    shown = picture(tiff(stored.astype(np.int32).astype(np.uint16), photometric=kind), keep_16_bit=True).pixels
    assert np.abs(shown / 257 - lab_as_srgb(lab)).max() < 0.5


def lab_as_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = (lab[..., 0] + 16) / 116
    roots = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=-1)
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * [0.9642, 1, 0.8249]
    to_xyz = [[0.43607, 0.38506, 0.14308], [0.22250, 0.71688, 0.06062], [0.01393, 0.09710, 0.71417]]
    linear = (xyz @ np.linalg.inv(np.array(to_xyz)).T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


def test_lab_of_both_kinds_and_depths_is_alike() -> None:
    lab = photo()
    lab[..., 1:] = lab[..., 1:] // 4 + 96
    signed = lab ^ np.array([0, 128, 128], np.uint8)
    one = picture(tiff(lab, photometric="icclab")).pixels
    assert np.array_equal(one, picture(tiff(signed, photometric="cielab")).pixels)
    deep = lab.astype(np.uint16) * 256
    deep[..., 0] = np.rint(lab[..., 0] * (65_280 / 255))
    assert psnr(picture(tiff(deep, photometric="icclab")).pixels, one) > 40


def test_colours_converted_by_a_profile_have_that_of_srgb() -> None:
    lab = photo()
    assert decode(tiff(lab, photometric="icclab", iccprofile=lab_profile())).space.profile == srgb_profile()
    assert decode(tiff(lab, photometric="icclab")).space.profile is None
    assert decode(tiff(lab, photometric="rgb", iccprofile=grey_profile(1.8))).space.profile is None


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_of_twelve_bits(channels: int) -> None:
    pixels = deep_photo()[..., :channels].squeeze()
    exif = Image.Exif()
    exif[Base.Orientation] = 3
    segment = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    data = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels >> 4), 100, bitspersample=12))
    data = insert_segments(data, [b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment])
    expected = np.broadcast_to(pixels.reshape(24, 32, -1), (24, 32, 3))[::-1, ::-1]
    deep, rounded = picture(data, keep_16_bit=True), picture(data)
    assert deep.pixels.dtype == np.uint16
    assert psnr(deep.pixels // 257, expected // 257) > 35  # chroma is subsampled
    assert np.abs(rounded.pixels - deep.pixels / 257).max() <= 0.5
    with pytest.raises(CorruptImage, match="last pixels"):
        picture(data[: len(data) // 2])


def test_premultiplied_tiff_becomes_straight() -> None:
    colours, alpha = photo(), np.full((24, 32, 1), 128, np.uint8)
    data = tiff(np.dstack([colours // 2, alpha]), photometric="rgb", extrasamples=["assocalpha"])
    shown = picture(data)
    assert shown.alpha is not None
    assert (shown.alpha == 128).all()
    assert np.abs(shown.pixels.astype(int) - colours).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_every_frame_is_decoded_with_its_duration(kind: str) -> None:
    photograph = decode(moving(kind, 3, loop=0))
    frames = list(photograph.pictures)
    assert photograph.loop_count == 0
    assert [frame.milliseconds for frame in frames] == [50, 100, 150]
    for seed, frame in enumerate(frames):
        assert psnr(frame.pixels, photo(seed)) > 25


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_orientation_is_applied_to_every_frame(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored, turned = moving(kind, 3, alpha=True, lossless=True), moving(kind, 3, alpha=True, lossless=True, exif=exif)
    for one, other in zip(pictures(stored), pictures(turned), strict=True):
        assert one.alpha is not None
        assert other.alpha is not None
        assert np.array_equal(other.alpha, apply_orientation(one.alpha, orientation))
        visible = other.alpha > 0
        assert np.array_equal(other.pixels[visible], apply_orientation(one.pixels, orientation)[visible])
        assert other.milliseconds == one.milliseconds


def test_frames_of_a_webp_may_last_longer_than_its_decoder_counts() -> None:
    others = [Image.fromarray(photo(seed, 2, 2)) for seed in range(1, 140)]
    data = file(photo(0, 2, 2), "WEBP", save_all=True, append_images=others, duration=0x010101)
    longest = data.replace(b"\x01\x01\x01", b"\xff\xff\xff")
    assert [frame.milliseconds for frame in pictures(longest)] == [2**24 - 1] * 140


@pytest.mark.parametrize(
    ("kind", "options", "loop_count"),
    [
        ("GIF", {}, 1),
        ("GIF", {"loop": 2}, 3),
        ("GIF", {"loop": 0}, 0),
        ("PNG", {"loop": 2}, 2),
        ("WEBP", {"loop": 2}, 2),
    ],
)
def test_loop_count(kind: str, options: dict[str, Any], loop_count: int) -> None:
    assert decode(moving(kind, 2, **options)).loop_count == loop_count


def test_frames_are_decoded_one_at_a_time() -> None:
    data = moving("GIF", 4)
    broken = data[: len(data) * 3 // 4]
    frames = decode(broken).pictures
    assert next(frames).pixels.shape == (24, 32, 3)
    with pytest.raises(CorruptImage):
        list(frames)


def test_frame_is_composed_with_the_one_before() -> None:
    """Pixels that a frame does not draw are those of the frame before."""
    first = Image.new("RGB", (20, 10), "red")
    second = first.copy()
    second.paste("blue", (0, 0, 5, 5))
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=[second])
    shown = pictures(stream.getvalue())[1].pixels
    assert shown[2, 2].tolist() == [0, 0, 255 - 1] or shown[2, 2].tolist() == [0, 0, 255]
    assert shown[8, 18, 0] >= 254
