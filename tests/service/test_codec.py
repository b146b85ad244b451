import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from service.codec import (
    Header,
    ImageFormat,
    Limits,
    Picture,
    accepted_types,
    choose,
    decode,
    encode,
    inspect,
    output_formats,
)
from service.errors import CorruptImage, ImageTooLarge, MalformedBody, NotAcceptable, UnsupportedImage
from tests.service.live import file, photo

JPEG, PNG, WEBP = ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP
ORIENTATION = 0x0112


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(one.astype(float) - other).mean(), 1e-9)))


def turned(image: Image.Image, orientation: int) -> bytes:
    """A PNG whose tag says how it must be turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return file(image, exif=exif)


@pytest.mark.parametrize("kind", ImageFormat)
def test_header_is_read_by_content(kind: ImageFormat) -> None:
    assert inspect(file(photo(height=20, width=30), kind.name)) == Header(kind, 30, 20, has_alpha=False)


def test_header_is_read_without_decoding() -> None:
    whole = file(photo(height=300, width=400), "JPEG")
    assert inspect(whole[: len(whole) // 2]).pixels == 120_000


def test_empty_body_is_malformed() -> None:
    with pytest.raises(MalformedBody, match="empty"):
        inspect(b"")


@pytest.mark.parametrize("data", [b"hello", b"GIF89a" + bytes(100), b"%PDF-1.7", b"RIFF0000WAVE", b"\xff\xd8"])
def test_other_content_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="image/webp") as failure:
        inspect(data)
    assert failure.value.members == {"accepted": accepted_types()}


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP", b"\xff\xd8\xff"]
)
def test_broken_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptImage):
        inspect(data)


@pytest.mark.parametrize("kind", ImageFormat)
def test_truncated_image_is_corrupt(kind: ImageFormat) -> None:
    whole = file(photo(height=200, width=200), kind.name)
    with pytest.raises(CorruptImage):
        decode(whole[: len(whole) // 2])


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(ImageFormat), at=st.floats(0, 1), value=st.binary(min_size=1, max_size=8))
def test_damage_gives_a_picture_or_a_refusal(kind: ImageFormat, at: float, value: bytes) -> None:
    data = bytearray(file(photo(), kind.name))
    position = int(at * (len(data) - len(value)))
    data[position : position + len(value)] = value
    try:
        inspect(bytes(data))
        decoded = decode(bytes(data))
    except (CorruptImage, UnsupportedImage):
        return
    assert decoded.pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animated_image_is_refused(kind: str) -> None:
    frames = [Image.fromarray(photo(seed)) for seed in range(3)]
    with pytest.raises(UnsupportedImage, match="one frame"):
        inspect(file(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_photo_with_embedded_previews_is_its_first_picture() -> None:
    multi = file(Image.fromarray(photo(1)), "MPO", save_all=True, append_images=[Image.fromarray(photo(2))])
    assert inspect(multi).format is JPEG
    assert psnr(decode(multi).pixels, photo(1)) > 30


def test_limit_on_input_pixels() -> None:
    Limits(600, 10**9, 600).check(Header(JPEG, 30, 20, has_alpha=False), 1, JPEG, tileable=True)
    with pytest.raises(ImageTooLarge) as failure:
        Limits(599, 10**9, 599).check(Header(JPEG, 30, 20, has_alpha=False), 1, JPEG, tileable=True)
    assert failure.value.members == {"limit": "max_pixels", "actual": 600, "max_accepted": 599}


def test_limit_on_output_pixels() -> None:
    with pytest.raises(ImageTooLarge) as failure:
        Limits(600, 9599, 600).check(Header(JPEG, 30, 20, has_alpha=False), 4, JPEG, tileable=True)
    assert failure.value.members == {"limit": "max_output_pixels", "actual": 9600, "max_accepted": 9599}


def test_limit_on_what_cannot_be_cut_into_tiles() -> None:
    limits = Limits(10**9, 10**9, 599)
    limits.check(Header(JPEG, 30, 20, has_alpha=False), 1, JPEG, tileable=True)
    with pytest.raises(ImageTooLarge) as failure:
        limits.check(Header(JPEG, 30, 20, has_alpha=False), 1, JPEG, tileable=False)
    assert failure.value.members == {"limit": "max_whole_pixels", "actual": 600, "max_accepted": 599}


def test_limit_of_the_output_format() -> None:
    header = Header(WEBP, 5000, 1, has_alpha=False)
    Limits(10**9, 10**9, 10**9).check(header, 4, PNG, tileable=True)
    with pytest.raises(ImageTooLarge) as failure:
        Limits(10**9, 10**9, 10**9).check(header, 4, WEBP, tileable=True)
    assert failure.value.members == {"limit": "webp_side", "actual": 20_000, "max_accepted": 16_383}


@pytest.mark.parametrize(("kind", "side"), [(JPEG, 65_500), (WEBP, 16_383)])
def test_largest_side_is_what_the_format_can_write(kind: ImageFormat, side: int) -> None:
    assert kind.largest_side == side
    assert inspect(encode(Picture(np.zeros((1, side, 3), np.uint8)), kind)).width == side
    with pytest.raises((OSError, ValueError)):
        encode(Picture(np.zeros((1, side + 36, 3), np.uint8)), kind)


def test_rgb_is_decoded_as_it_is() -> None:
    assert np.array_equal(decode(file(photo())).pixels, photo())
    assert decode(file(photo())).alpha is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    upright = Image.fromarray(photo(height=7, width=5))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # 6 is shown turned clockwise, so it was stored turned back
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    assert np.array_equal(decode(turned(stored, orientation)).pixels, photo(height=7, width=5))


@pytest.mark.parametrize("exif", [b"Exif\x00\x00MM\x00", b"Exif\x00\x00junk that is no TIFF", b"Exif\x00\x00"])
def test_damaged_exif_does_not_lose_the_photo(exif: bytes) -> None:
    assert psnr(decode(file(photo(), "JPEG", exif=exif, quality=95)).pixels, photo()) > 30


def test_grey_becomes_rgb() -> None:
    grey = Image.fromarray(photo()).convert("L")
    assert np.array_equal(decode(file(grey)).pixels, np.stack([np.asarray(grey)] * 3, axis=-1))


def test_bilevel_becomes_rgb() -> None:
    assert set(np.unique(decode(file(Image.fromarray(photo()).convert("1"))).pixels)) <= {0, 255}


def test_sixteen_bit_grey_is_rounded_to_eight() -> None:
    deep = np.array([[0, 128, 129, 32_768, 65_406, 65_407, 65_535]], np.uint16)
    assert decode(file(Image.fromarray(deep))).pixels[0, :, 0].tolist() == [0, 0, 1, 128, 254, 255, 255]


def test_palette_with_transparency_keeps_it() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    data = file(image, transparency=b"\xff\x40")
    assert inspect(data).has_alpha
    picture = decode(data)
    assert picture.pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 64]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_apart(mode: str) -> None:
    image = Image.fromarray(photo()).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    picture = decode(file(image))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, np.asarray(image.getchannel("A")))
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))


def test_transparent_colour_of_rgb_is_alpha() -> None:
    data = file(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert decode(data).alpha == np.array([[0]])


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert decode(file(cyan, "JPEG", quality=100)).pixels[8, 8].tolist() == [0, 255, 255]


def test_srgb_profile_changes_nothing() -> None:
    srgb = ImageCms.createProfile("sRGB")
    data = file(Image.new("RGB", (4, 4), (200, 100, 50)), icc_profile=ImageCms.ImageCmsProfile(srgb).tobytes())
    assert np.abs(decode(data).pixels[0, 0].astype(int) - (200, 100, 50)).max() <= 1


def test_wide_gamut_profile_changes_the_numbers(wide_gamut: bytes) -> None:
    decoded = decode(file(Image.new("RGB", (4, 4), (100, 200, 100)), icc_profile=wide_gamut)).pixels[0, 0]
    red, green, blue = (int(value) for value in decoded)
    assert red < 90  # the same green, which lies outside sRGB, has less red in sRGB's numbers
    assert green >= 200
    assert blue < 110


@pytest.mark.parametrize("profile", [b"no profile at all", bytes(128)])
def test_broken_profile_is_ignored(profile: bytes) -> None:
    assert np.array_equal(decode(file(photo(), icc_profile=profile)).pixels, photo())


@pytest.mark.parametrize("kind", ImageFormat)
def test_encoding_is_read_back(kind: ImageFormat) -> None:
    data = encode(Picture(photo()), kind, 95)
    assert inspect(data).format is kind
    assert psnr(decode(data).pixels, photo()) > (100 if kind is PNG else 30)


@pytest.mark.parametrize("kind", [JPEG, WEBP])
def test_quality_costs_bytes(kind: ImageFormat) -> None:
    noise = Picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert len(encode(noise, kind, 20)) < len(encode(noise, kind, 95))


@pytest.mark.parametrize("kind", [PNG, WEBP])
def test_alpha_is_put_back(kind: ImageFormat) -> None:
    alpha = np.full((24, 32), 128, np.uint8)
    again = decode(encode(Picture(photo(), alpha), kind))
    assert again.alpha is not None
    assert np.array_equal(again.alpha, alpha)


def test_alpha_becomes_white_in_jpeg() -> None:
    clear = Picture(np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8))
    assert decode(encode(clear, JPEG)).pixels.min() == 255


def test_alpha_grows_with_the_pixels() -> None:
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:, 4:] = 255
    larger = Picture(photo(height=6, width=8), alpha).repainted(photo(height=24, width=32))
    assert larger.alpha is not None
    assert larger.alpha.shape == (24, 32)
    assert larger.alpha[:, 0].max() == 0
    assert larger.alpha[:, -1].min() == 255


def test_repainting_leaves_the_picture_alone() -> None:
    original = Picture(photo(1))
    assert np.array_equal(original.repainted(photo(2)).pixels, photo(2))
    assert np.array_equal(original.pixels, photo(1))


@pytest.mark.parametrize(
    ("requested", "accept", "formats"),
    [
        (None, None, [JPEG, PNG, WEBP]),
        (None, "*/*", [JPEG, PNG, WEBP]),
        (None, "image/*", [JPEG, PNG, WEBP]),
        (None, "image/png", [PNG]),
        (None, "image/webp, image/png", [PNG, WEBP]),
        (None, "image/webp;q=0.5, image/png;q=0.4", [WEBP]),
        (None, "image/*;q=0.5, image/jpeg;q=0.1", [PNG, WEBP]),
        (None, "image/*, image/jpeg;q=0", [PNG, WEBP]),
        (None, "text/html, image/avif, image/webp, */*;q=0.8", [WEBP]),
        (None, "IMAGE/PNG ; Q=1", [PNG]),
        ("png", "image/webp", [PNG]),
        ("JPG", None, [JPEG]),
    ],
)
def test_output_formats(requested: str | None, accept: str | None, formats: list[ImageFormat]) -> None:
    assert list(output_formats(requested, accept)) == formats


@pytest.mark.parametrize(
    ("requested", "accept"), [("gif", None), ("", None), (None, "image/avif"), (None, "image/png;q=0"), (None, "json")]
)
def test_what_cannot_be_given_is_not_acceptable(requested: str | None, accept: str | None) -> None:
    with pytest.raises(NotAcceptable, match="image/jpeg") as failure:
        output_formats(requested, accept)
    assert failure.value.members == {"available": ["image/jpeg", "image/png", "image/webp"]}


@pytest.mark.parametrize(
    ("formats", "kind", "alpha", "chosen"),
    [
        ([JPEG, PNG, WEBP], WEBP, False, WEBP),
        ([JPEG, PNG, WEBP], JPEG, False, JPEG),
        ([PNG, WEBP], JPEG, False, PNG),
        ([JPEG, PNG], WEBP, True, PNG),
        ([JPEG], PNG, True, JPEG),
    ],
)
def test_choice_keeps_transparency_and_then_the_format(
    formats: list[ImageFormat], kind: ImageFormat, alpha: bool, chosen: ImageFormat
) -> None:
    assert choose(formats, Header(kind, 1, 1, alpha)) is chosen
