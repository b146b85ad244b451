from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs import WRITTEN_FORMATS, ImageFormat, ImageHeader, decode, inspect
from tests.service.imaging.codecs.samples import XMP, camera_exif, chunk, deep_photo, moving, png, tiff
from tests.service.imaging.images import file, photo

JPEG, PNG, WEBP, TIFF, GIF = ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.TIFF, ImageFormat.GIF


@pytest.mark.parametrize("kind", WRITTEN_FORMATS)
def test_header_is_read_by_content(kind: ImageFormat) -> None:
    assert inspect(file(photo(height=20, width=30), kind.name)) == ImageHeader(kind, 30, 20, has_alpha=False)


def test_header_is_read_without_decoding() -> None:
    whole = file(photo(height=300, width=400), "JPEG")
    assert inspect(whole[: len(whole) // 2]).pixels == 120_000


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"\0\0\0\x1cftypavif\0\0\0\0mif1avif",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\xff\x0a",
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"BM" + bytes(12) + b"\x28\0\0\0",
    ],
)
def test_broken_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptImage):
        inspect(data)


LOSSLESS_JPEG = imagecodecs.ljpeg_encode(deep_photo()[..., 0])
HIERARCHICAL_JPEG = file(photo(), "JPEG").replace(b"\xff\xc0", b"\xff\xc5")
SIXTEEN_BIT_JPEG = file(photo(), "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x10")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(LOSSLESS_JPEG, "lossless JPEG", id="lossless"),
        pytest.param(imagecodecs.jpegls_encode(photo()), "JPEG-LS", id="JPEG-LS"),
        pytest.param(HIERARCHICAL_JPEG, "hierarchical JPEG", id="hierarchical"),
        pytest.param(SIXTEEN_BIT_JPEG, "JPEG of 16 bits a sample", id="16 bits"),
    ],
)
def test_coding_of_jpeg_that_is_not_read_is_named(data: bytes, what: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"^{what} is not accepted"):
        inspect(data)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_grey_is_known(kind: str) -> None:
    assert inspect(file(Image.fromarray(photo()).convert("L"), kind)).grey
    assert not inspect(file(photo(), kind)).grey


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_depth_is_known(channels: int) -> None:
    pixels = deep_photo(channels=channels)[..., 0] if channels == 1 else deep_photo(channels=channels)
    kinds = {1: "minisblack", 2: "minisblack", 3: "rgb", 4: "rgb"}
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    for data in (png(pixels), tiff(pixels, photometric=kinds[channels], **extra)):
        header = inspect(data)
        assert (header.depth, header.grey, header.has_alpha) == (16, channels < 3, channels in (2, 4))
        assert (header.width, header.height) == (32, 24)
    assert inspect(png((pixels >> 8).astype(np.uint8))).depth == 8


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_frames_are_counted(kind: str) -> None:
    header = inspect(moving(kind, 3))
    assert (header.frames, header.pixels, header.depth) == (3, 3 * 24 * 32, 8)


def test_still_image_of_an_animated_png_is_no_frame() -> None:
    assert inspect(moving("PNG", 4, default_image=True)).frames == 3


@pytest.mark.parametrize("kind", ["TIFF", "MPO"])
def test_further_pages_and_previews_are_no_frames(kind: str) -> None:
    data = file(Image.fromarray(photo(1)), kind, save_all=True, append_images=[Image.fromarray(photo(2, 9, 9))])
    header = inspect(data)
    assert (header.frames, header.height, header.width) == (1, 24, 32)


def test_animated_avif_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="animated AVIF is not accepted; send one frame"):
        inspect(moving("AVIF", 2))


@pytest.mark.parametrize(
    ("dtype", "what"),
    [
        (np.float32, "floating-point samples of 32 bits"),
        (np.float16, "floating-point samples of 16 bits"),
        (np.uint32, "32 bits a channel"),
        (np.int16, "signed samples of 16 bits"),
        (np.int8, "signed samples of 8 bits"),
    ],
)
def test_other_sample_formats_are_refused(dtype: type[np.generic], what: str) -> None:
    with pytest.raises(UnsupportedImage, match=what):
        inspect(tiff(np.zeros((4, 4), dtype)))


def test_jpeg_of_twelve_bits_is_deep() -> None:
    data = bytes(imagecodecs.jpeg8_encode(deep_photo() >> 4, 95, bitspersample=12))
    assert inspect(data) == ImageHeader(JPEG, 32, 24, has_alpha=False, depth=16)
    assert inspect(data).default_output_format is JPEG
    assert inspect(bytes(imagecodecs.jpeg8_encode(deep_photo()[..., 0] >> 4, 95, bitspersample=12))).grey


def test_raw_file_of_a_camera_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="raw file"):
        inspect(tiff(photo(), photometric="rgb", extratags=[(50_706, 1, 4, b"\1\4\0\0", True)]))
    with pytest.raises(UnsupportedImage, match="raw file"):
        inspect(tiff(photo(), photometric="rgb", subfiletype=1))


@pytest.mark.parametrize(
    ("kind", "frames", "alpha", "expected"),
    [
        (JPEG, 1, False, JPEG),
        (TIFF, 1, True, TIFF),
        (GIF, 1, False, PNG),
        (GIF, 5, True, GIF),
        (ImageFormat.HEIC, 1, False, JPEG),
        (ImageFormat.HEIC, 1, True, PNG),
        (ImageFormat.JXL, 1, False, JPEG),
        (ImageFormat.JXL, 1, True, PNG),
        (ImageFormat.BMP, 1, False, PNG),
    ],
)
def test_default_output_format(kind: ImageFormat, frames: int, alpha: bool, expected: ImageFormat) -> None:
    assert ImageHeader(kind, 1, 1, alpha, frames).default_output_format is expected


def test_exact_or_deep_jpeg_xl_becomes_png() -> None:
    assert ImageHeader(ImageFormat.JXL, 1, 1, False, lossless=True).default_output_format is PNG
    assert ImageHeader(ImageFormat.JXL, 1, 1, False, depth=16).default_output_format is PNG


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_size_follows_the_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    header = inspect(file(photo(height=20, width=30), kind, exif=exif))
    assert header.upright_size == ((30, 20) if orientation > 4 else (20, 30))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_upright_size_of_an_animation_follows_the_orientation(kind: str) -> None:
    for orientation, size in ((6, (32, 24)), (3, (24, 32))):
        header = inspect(moving(kind, 2, exif=camera_exif(orientation)))
        assert (header.frames, header.upright_size) == (2, size)


def moved_to_the_end(data: bytes, kind: bytes) -> bytes:
    """A PNG with that chunk after its pixels."""
    begin = data.index(kind) - 4
    end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
    return data[:begin] + data[end:-12] + data[begin:end] + data[-12:]


def test_exif_after_the_pixels_of_a_png_is_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = moved_to_the_end(file(photo(0, 20, 30), exif=exif), b"eXIf")
    assert data.index(b"eXIf") > data.index(b"IDAT")
    assert inspect(data).upright_size == (30, 20)
    assert next(decode(data).pictures).pixels.shape == (30, 20, 3)


def test_damage_after_the_pixels_of_a_png_is_ignored() -> None:
    whole = file(photo(0, 20, 30))
    broken = whole[:-12] + chunk(b"eXIf", b"no exif") + chunk(b"zTXt", b"x\0\0no zlib") + whole[-12:]
    for data in (broken, broken[:-14]):
        assert inspect(data).upright_size == (20, 30)


def xmp_text() -> PngInfo:
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return texts


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"xmp": XMP}),
        ("WEBP", {"xmp": XMP}),
        ("PNG", {"pnginfo": xmp_text()}),
    ],
)
def test_orientation_is_that_of_exif_alone(kind: str, options: dict[str, Any]) -> None:
    """XMP, here of orientation 6, often stays as it was when a program turns a photo upright and removes its EXIF."""
    data = file(photo(0, 20, 30), kind, **options)
    assert inspect(data).upright_size == next(decode(data).pictures).pixels.shape[:2] == (20, 30)
    turned = file(photo(0, 20, 30), kind, exif=camera_exif(8), **options)
    assert inspect(turned).upright_size == next(decode(turned).pictures).pixels.shape[:2] == (30, 20)
