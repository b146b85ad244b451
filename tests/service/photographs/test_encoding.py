import io
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from service.errors import CorruptImage
from service.photographs import ImageFormat, Output, Picture, Pixels, Policy, Subsampling, decode, encode, inspect
from tests.service.live import file, photo
from tests.service.photographs.samples import (
    DISPLAY_P3,
    again,
    camera_exif,
    deep_photo,
    grey_profile,
    moving,
    picture,
    pictures,
    png,
    psnr,
    rgb_profile,
    written,
)

JPEG, PNG, WEBP, AVIF, TIFF, GIF, _ = ImageFormat
WRITTEN = [kind for kind in ImageFormat if kind.written]
P3 = rgb_profile(DISPLAY_P3)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(("kind", "side"), [(JPEG, 65_500), (WEBP, 16_383), (AVIF, 16_384), (GIF, 65_535)])
def test_largest_side_is_what_the_format_can_write(kind: ImageFormat, side: int) -> None:
    assert kind.largest_side == side
    assert inspect(written(Picture(np.zeros((1, side, 3), np.uint8)), kind)).width == side


@pytest.mark.parametrize(("kind", "side"), [(JPEG, 65_536), (WEBP, 16_384), (GIF, 65_536)])
def test_larger_sides_fail(kind: ImageFormat, side: int) -> None:
    with pytest.raises((OSError, ValueError, OverflowError, struct.error)):
        written(Picture(np.zeros((1, side, 3), np.uint8)), kind)


@pytest.mark.parametrize("kind", WRITTEN)
def test_encoding_is_read_back(kind: ImageFormat) -> None:
    data = written(Picture(photo(0, 96, 128)), kind, quality=95)
    assert inspect(data).format is kind
    assert psnr(picture(data).pixels, photo(0, 96, 128)) > {PNG: 100, TIFF: 100, GIF: 25}.get(kind, 30)


@pytest.mark.parametrize("kind", [JPEG, WEBP, AVIF])
def test_quality_costs_bytes(kind: ImageFormat) -> None:
    noise = Picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert len(written(noise, kind, quality=20)) < len(written(noise, kind, quality=95))


def test_webp_is_lossless_on_demand() -> None:
    assert np.array_equal(picture(written(Picture(photo()), WEBP, lossless=True)).pixels, photo())
    assert not np.array_equal(picture(written(Picture(photo()), WEBP)).pixels, photo())


def test_jpeg_is_progressive_on_demand() -> None:
    assert "progressive" in opened(written(Picture(photo()), JPEG, progressive=True)).info
    assert "progressive" not in opened(written(Picture(photo()), JPEG)).info


@pytest.mark.parametrize("kind", [JPEG, AVIF])
def test_colours_are_thinned_out_on_demand(kind: ImageFormat) -> None:
    edges: Pixels = np.zeros((64, 64, 3), np.uint8)
    edges[:, ::2], edges[:, 1::2] = (255, 0, 0), (0, 0, 255)
    full, quarter = (
        psnr(picture(written(Picture(edges), kind, subsampling=kept)).pixels, edges)
        for kept in (Subsampling.FULL, Subsampling.QUARTER)
    )
    assert full > quarter + 10


@pytest.mark.parametrize("kind", [PNG, WEBP, TIFF, AVIF])
def test_alpha_is_put_back(kind: ImageFormat) -> None:
    alpha = np.full((24, 32), 128, np.uint8)
    found = picture(written(Picture(photo(), alpha), kind)).alpha
    assert found is not None
    assert np.abs(found.astype(int) - alpha).max() <= (2 if kind is AVIF else 0)


def test_alpha_of_a_gif_is_all_or_nothing() -> None:
    alpha = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(24, axis=0)
    found = picture(written(Picture(photo(), alpha), GIF)).alpha
    assert found is not None
    assert np.array_equal(found, np.where(alpha < 128, 0, 255))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_becomes_white_in_jpeg(dtype: type[np.uint8 | np.uint16]) -> None:
    clear = Picture(np.zeros((16, 16, 3), dtype), np.zeros((16, 16), dtype))
    assert picture(written(clear, JPEG)).pixels.min() == 255


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [PNG, TIFF])
def test_sixteen_bits_are_written(kind: ImageFormat, channels: int) -> None:
    given = png(deep_photo(channels=channels).clip(1))
    data = again(given, kind, enlarged=True)
    header = inspect(data)
    assert (header.format, header.depth, header.grey) == (kind, 16, channels < 3)
    before, after = (picture(one, grey=True, deep=True) for one in (given, data))
    assert np.array_equal(after.pixels, before.pixels)
    assert (after.alpha is None) == (before.alpha is None) == (channels in (1, 3))
    assert after.alpha is None or before.alpha is None or np.array_equal(after.alpha, before.alpha)


@pytest.mark.parametrize("kind", [JPEG, WEBP, AVIF, GIF])
def test_sixteen_bits_become_eight_elsewhere(kind: ImageFormat) -> None:
    data = again(png(deep_photo(0, 96, 128)), kind)
    assert inspect(data).depth == 8
    assert psnr(picture(data).pixels, picture(png(deep_photo(0, 96, 128))).pixels) > (25 if kind is GIF else 30)


@pytest.mark.parametrize("kind", WRITTEN)
def test_grey_stays_grey_where_the_format_can(kind: ImageFormat) -> None:
    given = file(Image.fromarray(photo()).convert("L"))
    enlarged = again(given, kind, enlarged=True)
    assert inspect(enlarged).grey == (kind in (JPEG, PNG, TIFF))
    shown = picture(enlarged).pixels.astype(int)
    assert np.abs(shown - shown[..., :1]).max() <= (4 if kind is GIF else 1)
    assert not inspect(again(given, kind)).grey  # a painting has colours


@pytest.mark.parametrize("kind", [JPEG, PNG, WEBP, AVIF, TIFF])
@pytest.mark.parametrize("depth", [8, 16])
def test_wide_colours_keep_their_profile(kind: ImageFormat, depth: int) -> None:
    given = file(photo(), icc_profile=P3) if depth == 8 else again(png(deep_photo()), PNG)
    if depth == 16:
        small = opened(file(Image.new("RGB", (1, 1)), icc_profile=P3))
        assert small.info["icc_profile"] == P3
        original = decode(file(photo(), icc_profile=P3))
        given = encode([Picture(deep_photo())], original, PNG, Output([PNG]))
    data = again(given, kind)
    photograph = decode(data, deep=True)
    assert photograph.space.profile == P3
    assert psnr(picture(data).pixels, picture(given).pixels) > 27


def test_gif_has_no_profile_and_is_srgb() -> None:
    original = decode(file(photo(), icc_profile=P3))
    shown = picture(again(file(photo(), icc_profile=P3), GIF)).pixels
    assert psnr(shown, original.space.to_srgb(photo())) > psnr(shown, photo()) + 3


def test_grey_of_its_own_space_is_tagged_or_converted() -> None:
    given = file(Image.fromarray(photo()).convert("L"), icc_profile=grey_profile(1.8))
    assert decode(again(given, PNG, enlarged=True), grey=True).space.profile == grey_profile(1.8)
    coloured = again(given, WEBP, enlarged=True, lossless=True)
    assert "icc_profile" not in opened(coloured).info
    assert np.abs(picture(coloured).pixels.astype(int) - picture(given).pixels).max() <= 1


def test_grey_has_no_profile_of_three_channels() -> None:
    given = file(Image.fromarray(photo()).convert("L"), icc_profile=grey_profile(1.0))
    enlarged = again(given, PNG, enlarged=True)
    assert inspect(enlarged).grey
    assert "icc_profile" not in opened(enlarged).info
    assert decode(again(given, WEBP, enlarged=True)).space.is_srgb
    assert np.abs(picture(enlarged).pixels.astype(int) - picture(given).pixels).max() <= 1


@pytest.mark.parametrize("kind", [JPEG, PNG, WEBP, AVIF, TIFF])
@pytest.mark.parametrize("policy", Policy)
def test_metadata_follows_its_policy(kind: ImageFormat, policy: Policy) -> None:
    given = file(photo(), "JPEG", exif=camera_exif(6))
    image = opened(again(given, kind, metadata=policy))
    exif = image.getexif()
    assert exif.get(Base.Artist) == (None if policy is Policy.STRIP else "Ansel")
    assert exif.get(Base.Make) == ("Kamera" if policy is Policy.KEEP else None)
    assert bool(exif.get_ifd(0x8825)) == (policy is Policy.KEEP)
    assert exif.get(Base.Orientation, 1) == 1
    assert image.size == (24, 32)
    assert b"compositeWithTrainedAlgorithmicMedia" in image.info["xmp"]
    if policy is Policy.KEEP:
        assert exif.get_ifd(0x8769)[Base.ExifImageWidth] == 24


@pytest.mark.parametrize("given", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("kind", [GIF, PNG, WEBP])
def test_frames_keep_their_time_and_their_number(given: str, kind: ImageFormat) -> None:
    data = again(moving(given, 3, loop=2), kind)
    assert inspect(data).frames == 3
    before, after = decode(moving(given, 3, loop=2)), decode(data)
    assert after.plays == before.plays
    for one, other in zip(before.pictures, after.pictures, strict=True):
        assert other.milliseconds == one.milliseconds
        assert psnr(one.pixels, other.pixels) > 22


@pytest.mark.parametrize(
    ("given", "expected"),
    [([33, 67, 33], [30, 70, 30]), ([16, 17, 8, 5], [20, 20, 20, 20]), ([45, 45, 45], [40, 50, 50])],
)
def test_gif_counts_in_hundredths_of_a_second(given: list[int], expected: list[int]) -> None:
    frames = [Image.fromarray(photo(seed)) for seed in range(len(given))]
    data = again(file(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=given), GIF)
    assert [frame.milliseconds for frame in pictures(data)] == expected


@pytest.mark.parametrize("kind", [GIF, PNG, WEBP])
def test_frames_are_transparent_where_they_were(kind: ImageFormat) -> None:
    given = moving("PNG", 3, alpha=True)
    for one, other in zip(pictures(given), pictures(again(given, kind)), strict=True):
        assert one.alpha is not None
        assert other.alpha is not None
        assert np.array_equal(one.alpha, other.alpha)


def test_nothing_is_given_back_of_what_is_broken() -> None:
    with pytest.raises(CorruptImage):
        again(file(photo())[:-100])
