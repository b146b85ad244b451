import io
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from service.errors import CorruptImage
from service.imaging.codecs import (
    WRITTEN_FORMATS,
    ImageFormat,
    MetadataPolicy,
    OutputSpec,
    Picture,
    Pixels,
    Subsampling,
    decode,
    encode,
    inspect,
)
from tests.service.imaging.codecs.samples import (
    DISPLAY_P3,
    camera_exif,
    deep_photo,
    encode_picture,
    grey_profile,
    picture,
    png,
    psnr,
    reencode,
    rgb_profile,
)
from tests.service.imaging.images import file, photo

JPEG, PNG, WEBP, AVIF, TIFF, GIF, *_ = ImageFormat
P3 = rgb_profile(DISPLAY_P3)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(("kind", "side"), [(JPEG, 65_500), (WEBP, 16_383), (AVIF, 16_384), (GIF, 65_535)])
def test_largest_side_can_be_written(kind: ImageFormat, side: int) -> None:
    assert kind.max_side == side
    assert inspect(encode_picture(Picture(np.zeros((1, side, 3), np.uint8)), kind)).width == side


@pytest.mark.parametrize(("kind", "side"), [(JPEG, 65_536), (WEBP, 16_384), (GIF, 65_536)])
def test_larger_sides_fail(kind: ImageFormat, side: int) -> None:
    with pytest.raises((OSError, ValueError, OverflowError, struct.error)):
        encode_picture(Picture(np.zeros((1, side, 3), np.uint8)), kind)


@pytest.mark.parametrize("quality", [85, 94, 100])
@pytest.mark.parametrize("size", [(300, 300), (2, 65_000), (65_000, 2)])
def test_a_progressive_jpeg_may_have_more_bytes_than_pixels(size: tuple[int, int], quality: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    data = encode_picture(Picture(noise), JPEG, quality=quality, progressive=True)
    assert opened(data).info["progressive"]
    assert psnr(picture(data).pixels, noise) > 20


@pytest.mark.parametrize("kind", WRITTEN_FORMATS)
def test_encoding_is_read_back(kind: ImageFormat) -> None:
    data = encode_picture(Picture(photo(0, 96, 128)), kind, quality=95)
    assert inspect(data).format is kind
    assert psnr(picture(data).pixels, photo(0, 96, 128)) > {PNG: 100, TIFF: 100, GIF: 25}.get(kind, 30)


@pytest.mark.parametrize("kind", [JPEG, WEBP, AVIF])
def test_quality_costs_bytes(kind: ImageFormat) -> None:
    noise = Picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert len(encode_picture(noise, kind, quality=20)) < len(encode_picture(noise, kind, quality=95))


def test_webp_is_lossless_on_demand() -> None:
    assert np.array_equal(picture(encode_picture(Picture(photo()), WEBP, lossless=True)).pixels, photo())
    assert not np.array_equal(picture(encode_picture(Picture(photo()), WEBP)).pixels, photo())


def test_jpeg_is_progressive_on_demand() -> None:
    assert "progressive" in opened(encode_picture(Picture(photo()), JPEG, progressive=True)).info
    assert "progressive" not in opened(encode_picture(Picture(photo()), JPEG)).info


@pytest.mark.parametrize("kind", [JPEG, AVIF])
def test_chroma_is_subsampled_on_demand(kind: ImageFormat) -> None:
    edges: Pixels = np.zeros((64, 64, 3), np.uint8)
    edges[:, ::2], edges[:, 1::2] = (255, 0, 0), (0, 0, 255)
    full, quarter = (
        psnr(picture(encode_picture(Picture(edges), kind, subsampling=kept)).pixels, edges)
        for kept in (Subsampling.FULL, Subsampling.QUARTER)
    )
    assert full > quarter + 10


@pytest.mark.parametrize("kind", [PNG, WEBP, TIFF, AVIF])
def test_alpha_is_written(kind: ImageFormat) -> None:
    alpha = np.full((24, 32), 128, np.uint8)
    found = picture(encode_picture(Picture(photo(), alpha), kind)).alpha
    assert found is not None
    assert np.abs(found.astype(int) - alpha).max() <= (2 if kind is AVIF else 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_becomes_white_in_jpeg(dtype: type[np.uint8 | np.uint16]) -> None:
    clear = Picture(np.zeros((16, 16, 3), dtype), np.zeros((16, 16), dtype))
    assert picture(encode_picture(clear, JPEG)).pixels.min() == 255


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [PNG, TIFF])
def test_sixteen_bits_are_written(kind: ImageFormat, channels: int) -> None:
    given = png(deep_photo(channels=channels).clip(1))
    data = reencode(given, kind, upscaled=True)
    header = inspect(data)
    assert (header.format, header.depth, header.grey) == (kind, 16, channels < 3)
    before, after = (picture(one, keep_grey=True, keep_16_bit=True) for one in (given, data))
    assert np.array_equal(after.pixels, before.pixels)
    assert (after.alpha is None) == (before.alpha is None) == (channels in (1, 3))
    assert after.alpha is None or before.alpha is None or np.array_equal(after.alpha, before.alpha)


@pytest.mark.parametrize("kind", [JPEG, WEBP, AVIF, GIF])
def test_sixteen_bits_become_eight_in_other_formats(kind: ImageFormat) -> None:
    data = reencode(png(deep_photo(0, 96, 128)), kind)
    assert inspect(data).depth == 8
    assert psnr(picture(data).pixels, picture(png(deep_photo(0, 96, 128))).pixels) > (25 if kind is GIF else 30)


@pytest.mark.parametrize("kind", WRITTEN_FORMATS)
def test_grey_stays_grey_where_the_format_supports_it(kind: ImageFormat) -> None:
    given = file(Image.fromarray(photo()).convert("L"))
    upscaled = reencode(given, kind, upscaled=True)
    assert inspect(upscaled).grey == (kind in (JPEG, PNG, TIFF))
    shown = picture(upscaled).pixels.astype(int)
    assert np.abs(shown - shown[..., :1]).max() <= (4 if kind is GIF else 1)
    assert not inspect(reencode(given, kind)).grey  # a stylized picture has colours


@pytest.mark.parametrize("kind", [JPEG, PNG, WEBP, AVIF, TIFF])
@pytest.mark.parametrize("depth", [8, 16])
def test_wide_colours_keep_their_profile(kind: ImageFormat, depth: int) -> None:
    given = file(photo(), icc_profile=P3) if depth == 8 else reencode(png(deep_photo()), PNG)
    if depth == 16:
        small = opened(file(Image.new("RGB", (1, 1)), icc_profile=P3))
        assert small.info["icc_profile"] == P3
        original = decode(file(photo(), icc_profile=P3))
        given = encode([Picture(deep_photo())], original, PNG, OutputSpec([PNG]))
    data = reencode(given, kind)
    photograph = decode(data, keep_16_bit=True)
    assert photograph.space.profile == P3
    assert psnr(picture(data).pixels, picture(given).pixels) > 27


def test_gif_has_no_profile_and_is_srgb() -> None:
    original = decode(file(photo(), icc_profile=P3))
    shown = picture(reencode(file(photo(), icc_profile=P3), GIF)).pixels
    assert psnr(shown, original.space.to_srgb(photo())) > psnr(shown, photo()) + 3


def test_grey_with_a_profile_is_tagged_or_converted() -> None:
    given = file(Image.fromarray(photo()).convert("L"), icc_profile=grey_profile(1.8))
    assert decode(reencode(given, PNG, upscaled=True), keep_grey=True).space.profile == grey_profile(1.8)
    coloured = reencode(given, WEBP, upscaled=True, lossless=True)
    assert "icc_profile" not in opened(coloured).info
    assert np.abs(picture(coloured).pixels.astype(int) - picture(given).pixels).max() <= 1


def test_grey_gets_no_rgb_profile() -> None:
    given = file(Image.fromarray(photo()).convert("L"), icc_profile=grey_profile(1.0))
    upscaled = reencode(given, PNG, upscaled=True)
    assert inspect(upscaled).grey
    assert "icc_profile" not in opened(upscaled).info
    assert decode(reencode(given, WEBP, upscaled=True)).space.is_srgb
    assert np.abs(picture(upscaled).pixels.astype(int) - picture(given).pixels).max() <= 1


@pytest.mark.parametrize("kind", [JPEG, PNG, WEBP, AVIF, TIFF])
@pytest.mark.parametrize("policy", MetadataPolicy)
def test_metadata_follows_its_policy(kind: ImageFormat, policy: MetadataPolicy) -> None:
    given = file(photo(), "JPEG", exif=camera_exif(6))
    image = opened(reencode(given, kind, metadata=policy))
    exif = image.getexif()
    assert exif.get(Base.Artist) == (None if policy is MetadataPolicy.STRIP else "Ansel")
    assert exif.get(Base.Make) == ("Kamera" if policy is MetadataPolicy.KEEP else None)
    assert bool(exif.get_ifd(0x8825)) == (policy is MetadataPolicy.KEEP)
    assert exif.get(Base.Orientation, 1) == 1
    assert image.size == (24, 32)
    assert b"compositeWithTrainedAlgorithmicMedia" in image.info["xmp"]
    if policy is MetadataPolicy.KEEP:
        assert exif.get_ifd(0x8769)[Base.ExifImageWidth] == 24


def test_truncated_input_is_not_encoded() -> None:
    with pytest.raises(CorruptImage):
        reencode(file(photo())[:-100])
