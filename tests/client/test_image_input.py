import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from client.image_input import read_image
from service.imaging.codecs import Pixels, decode
from tests.service.imaging.images import file, photo
from tests.service.live import pixels


def upright(data: bytes) -> Pixels:
    """A file as the service reads it."""
    return next(decode(data).pictures).pixels


def test_files_are_sent_as_they_are(tmp_path: Path) -> None:
    content = file(photo(), "JPEG")
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for image in (path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content)):
        assert read_image(image) == content
    with path.open("rb") as opened:
        assert read_image(opened) == content


def test_pixels_are_sent_without_loss() -> None:
    for image in (photo(), Image.fromarray(photo()), photo().astype(np.float32) / 255):
        assert np.array_equal(pixels(read_image(image)), photo())
    grey = read_image(photo()[..., 0])
    assert Image.open(io.BytesIO(grey)).mode == "L"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_images_of_every_mode_become_files(mode: str) -> None:
    image = Image.fromarray(photo()).convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    sent = Image.open(io.BytesIO(read_image(image)))
    assert sent.mode == (mode if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "RGB")
    assert np.array_equal(np.array(sent.convert("RGB")), np.array(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "I;16L"])
def test_deep_grey_keeps_its_sixteen_bits(mode: str) -> None:
    for level in (0, 300, 40_000, 65_535):
        sent = Image.open(io.BytesIO(read_image(Image.new(mode, (5, 4), level))))
        assert sent.mode == "I;16"
        assert np.array_equal(np.array(sent), np.full((4, 5), level))


def test_grey_floats_of_pillow_are_those_of_arrays() -> None:
    grey = photo()[..., 0].astype(np.float32) / 255
    image = Image.fromarray(grey)
    assert image.mode == "F"
    assert read_image(image) == read_image(grey)
    image.info["icc_profile"] = b"grey"
    assert Image.open(io.BytesIO(read_image(image))).info["icc_profile"] == b"grey"


@pytest.mark.parametrize(("mode", "kept", "level"), [("La", "LA", (50, 128)), ("RGBa", "RGBA", (50, 60, 70, 128))])
def test_premultiplied_alpha_is_kept(mode: str, kept: str, level: tuple[int, ...]) -> None:
    image = Image.new(mode, (5, 4), level)
    sent = Image.open(io.BytesIO(read_image(image)))
    assert sent.mode == kept
    assert np.array_equal(np.array(sent), np.array(image.convert(kept)))


def test_profile_and_orientation_of_an_image_are_sent() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = Image.open(io.BytesIO(file(photo(), "JPEG", icc_profile=profile, exif=exif)))
    sent = Image.open(io.BytesIO(read_image(opened)))
    assert sent.info["icc_profile"] == profile
    assert sent.getexif()[0x0112] == 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_opened_image_is_turned_as_its_file_is(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Kamera"
    given = file(photo(), kind, exif=exif)
    opened = Image.open(io.BytesIO(given))
    for _ in ("not yet loaded", "loaded"):
        sent = read_image(opened)
        np.testing.assert_allclose(upright(sent), upright(given), atol=1)
        assert Image.open(io.BytesIO(sent)).getexif()[0x010F] == "Kamera"


@pytest.mark.parametrize(
    "info",
    [
        {"exif": b"Exif\0\0no TIFF file"},
        {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\xff\xff\xff\xff\0\0\0\0"},
        {"xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'},
    ],
)
def test_orientation_that_is_broken_or_only_in_xmp_does_not_count(info: dict[str, bytes]) -> None:
    image = Image.fromarray(photo())
    image.info.update(info)
    assert np.array_equal(upright(read_image(image)), photo())


def test_other_colours_become_srgb_by_their_profile() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 6_500))
    base, srgb = Image.fromarray(photo()), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(base, srgb, profile, outputMode="LAB")
    assert image is not None
    image.info["icc_profile"] = profile.tobytes()
    sent = read_image(image)
    np.testing.assert_allclose(upright(sent), upright(file(image, "TIFF", icc_profile=profile.tobytes())), atol=1)
    assert "icc_profile" not in Image.open(io.BytesIO(sent)).info


@pytest.mark.parametrize("profile", [b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_profile_of_other_channels_does_not_count(profile: bytes) -> None:
    image = Image.fromarray(photo()).convert("CMYK")
    image.info["icc_profile"] = profile
    sent = read_image(image)
    assert np.array_equal(upright(sent), upright(file(image, "TIFF")))
    assert "icc_profile" not in Image.open(io.BytesIO(sent)).info


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (Image.new("I", (8, 8), 70_000), "values from 70000 to 70000 is not accepted; 0 to 65535 are"),
        (Image.new("I", (8, 8), -1), "values from -1 to -1"),
        (Image.new("F", (8, 8), 255.0), "floats from 0 to 1"),
        (np.zeros((3, 32, 32), np.uint8), r"\(3, 32, 32\) is no image; accepted are \(h, w\)"),
        (np.zeros((0, 32, 3), np.uint8), r"\(0, 32, 3\) is no image"),
        (np.zeros((8, 8, 3), np.int64), "int64 is no image"),
        (np.full((8, 8, 3), 255.0), "floats from 0 to 1"),
        (np.full((8, 8, 3), np.nan), "floats from 0 to 1"),
    ],
)
def test_other_arrays_are_refused(image: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_image(image)


def test_other_things_are_refused(tmp_path: Path) -> None:
    things: list[Any] = [3, None, io.StringIO("text")]
    for thing in things:
        with pytest.raises(TypeError, match="is no image; accepted is a path"):
            read_image(thing)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.jpg")
