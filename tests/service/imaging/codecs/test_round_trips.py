"""Outputs as other programs read them: exiftool, ImageMagick and libvips, which share no code with the encoders.

No network runs here, so any difference comes from the codecs.
"""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.imaging.codecs import ImageFormat, MetadataPolicy, Pixels, inspect
from service.imaging.codecs.colour import srgb_profile
from tests.service.imaging.codecs.samples import (
    DISPLAY_P3,
    XMP,
    adobe_rgb,
    camera_exif,
    deep_photo,
    moving,
    png,
    psnr,
    reencode,
    rgb_profile,
    tiff,
    write_file,
)
from tests.service.imaging.images import file, photo

EXIFTOOL = shutil.which("exiftool")
MAGICK = shutil.which("magick") or shutil.which("convert-im6.q16")
VIPS = shutil.which("vips")

with_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="needs exiftool (libimage-exiftool-perl)")
with_magick = pytest.mark.skipif(MAGICK is None, reason="needs ImageMagick")
with_vips = pytest.mark.skipif(VIPS is None, reason="needs libvips (libvips-tools)")

JPEG, PNG, WEBP, AVIF, TIFF, GIF, *_ = ImageFormat
P3, ADOBE = rgb_profile(DISPLAY_P3), adobe_rgb()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def call(program: str | None, *arguments: object) -> str:
    assert program is not None
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def exiftool(path: Path) -> dict[str, Any]:
    """The tags that exiftool finds, by group and name, with unformatted numbers."""
    found: dict[str, Any] = json.loads(call(EXIFTOOL, "-json", "-G1", "-n", "-struct", path))[0]
    assert "ExifTool:Error" not in found
    return found


def tag(found: dict[str, Any], name: str) -> Any:
    """The value of the first tag of that name, whatever its group."""
    return next((value for key, value in found.items() if key.split(":")[-1] == name), None)


def magick(path: Path, *options: str, depth: int = 8) -> Pixels:
    """Decode with ImageMagick to RGBA, uint8 or uint16 (N, H, W, 4) for N frames."""
    dtype, out = {8: np.uint8, 16: np.uint16}[depth], path.with_name("seen.npy")
    sizes = call(MAGICK, path, *options, "-format", "%w %h\n", "info:").split("\n")[0].split()
    call(MAGICK, path, *options, "-depth", depth, "-endian", "LSB", f"rgba:{out}")
    width, height = map(int, sizes)
    result: Pixels = np.fromfile(out, dtype).reshape(-1, height, width, 4)
    return result


def vips_difference(one: Path, other: Path) -> float:
    """The mean ΔE (CIE 2000) of two files, each converted by its own profile."""
    lab = []
    for path in (one, other):
        lab.append(path.with_name(f"{path.name}.v"))
        call(VIPS, "icc_import", path, lab[-1], "--embedded")
    call(VIPS, "dE00", *lab, one.with_name("de.v"))
    return float(call(VIPS, "avg", one.with_name("de.v")))


@with_exiftool
@pytest.mark.parametrize("kind", [JPEG, PNG, WEBP, AVIF, TIFF])
@pytest.mark.parametrize("orientation", [1, 6])
def test_kept_metadata_equals_the_input_or_is_updated(tmp_path: Path, kind: ImageFormat, orientation: int) -> None:
    given = file(photo(), "JPEG", exif=camera_exif(orientation), xmp=XMP)
    found = exiftool(write_file(reencode(given, kind, metadata=MetadataPolicy.KEEP), tmp_path, f"kept.{kind}"))
    assert tag(found, "Make") == "Kamera"
    assert tag(found, "Copyright") == "(c) Ansel"
    assert tag(found, "ExposureTime") == 1 / 125
    assert tag(found, "DateTimeOriginal") == "2026:11:23 20:51:10"
    assert tag(found, "GPSLatitude") == pytest.approx(48.858333, abs=1e-5)
    assert found.get("IFD0:Orientation", 1) == 1
    assert "XMP-tiff:Orientation" not in found
    sides = [24, 32] if orientation == 6 else [32, 24]
    assert [tag(found, "ExifImageWidth"), tag(found, "ExifImageHeight")] == sides
    assert [tag(found, "ImageWidth"), tag(found, "ImageHeight")] == sides
    assert tag(found, "Rating") == 4
    assert tag(found, "Creator") == ["A & B", "C"]
    assert tag(found, "DigitalSourceType").endswith("/compositeWithTrainedAlgorithmicMedia")
    assert tag(found, "ThumbnailImage") is None


@with_exiftool
@pytest.mark.parametrize("kind", [JPEG, PNG, WEBP, AVIF, TIFF])
@pytest.mark.parametrize("policy", [MetadataPolicy.STRIP, MetadataPolicy.COPYRIGHT])
def test_other_policies_drop_position_and_camera(tmp_path: Path, kind: ImageFormat, policy: MetadataPolicy) -> None:
    given = file(photo(), "JPEG", exif=camera_exif(), xmp=XMP)
    found = exiftool(write_file(reencode(given, kind, upscaled=True, metadata=policy), tmp_path, f"answer.{kind}"))
    assert [key for key in found if "GPS" in key] == []
    assert tag(found, "Make") is tag(found, "Rating") is tag(found, "DateTimeOriginal") is None
    assert tag(found, "DigitalSourceType").endswith("/algorithmicallyEnhanced")
    kept = policy is MetadataPolicy.COPYRIGHT
    assert tag(found, "Copyright") == ("(c) Ansel" if kept else None)
    assert tag(found, "Creator") == (["A & B", "C"] if kept else None)
    assert tag(found, "Rights") == ("© 2026 A <B>" if kept else None)


@with_exiftool
@pytest.mark.parametrize("count", [1, 3])
def test_gif_has_a_source_type(tmp_path: Path, count: int) -> None:
    data = moving("GIF", 3) if count == 3 else file(photo(), "JPEG", xmp=XMP)
    found = exiftool(write_file(reencode(data, GIF, metadata=MetadataPolicy.KEEP), tmp_path, "answer.gif"))
    assert tag(found, "DigitalSourceType").endswith("/compositeWithTrainedAlgorithmicMedia")
    assert tag(found, "Creator") == (None if count == 3 else ["A & B", "C"])
    assert tag(found, "FrameCount") == (3 if count == 3 else None)


@with_exiftool
@pytest.mark.parametrize("kind", [PNG, TIFF])
def test_files_of_16_bits_have_metadata(tmp_path: Path, kind: ImageFormat) -> None:
    exif = camera_exif()
    given = tiff(deep_photo(), photometric="rgb", iccprofile=P3, extratags=[(271, 2, 7, "Kamera", True)])
    found = exiftool(write_file(reencode(given, kind, metadata=MetadataPolicy.KEEP), tmp_path, f"deep.{kind}"))
    assert exif[271] == tag(found, "Make")
    assert str(tag(found, "BitsPerSample") or tag(found, "BitDepth")).split()[0] == "16"
    assert tag(found, "DigitalSourceType").endswith("/compositeWithTrainedAlgorithmicMedia")
    assert tag(found, "RedMatrixColumn") is not None


@with_magick
@with_vips
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation_equals_imagemagick(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    given = file(photo(0, 40, 56), kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {}))
    path = write_file(given, tmp_path, f"given.{kind}")
    if kind == "PNG":  # whose EXIF ImageMagick 6 does not read
        call(VIPS, "autorot", path, tmp_path / "turned.png")
        path = tmp_path / "turned.png"
    expected = magick(path, "-auto-orient")
    shown = magick(write_file(reencode(given, PNG), tmp_path, "answer.png"))
    assert shown.shape == expected.shape
    assert psnr(shown, expected) > (100 if kind != "JPEG" else 45)


@with_magick
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("given", ["png", "tiff"])
@pytest.mark.parametrize("kind", [PNG, TIFF])
def test_sixteen_bits_equal_imagemagick(tmp_path: Path, channels: int, given: str, kind: ImageFormat) -> None:
    pixels = deep_photo(channels=channels).clip(1)
    whole = pixels[..., 0] if channels == 1 else pixels
    photometric = "rgb" if channels > 2 else "minisblack"
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    data = png(whole) if given == "png" else tiff(whole, photometric=photometric, **extra)
    before = magick(write_file(data, tmp_path, f"given.{given}"), depth=16)
    after = magick(write_file(reencode(data, kind, upscaled=True), tmp_path, f"answer.{kind}"), depth=16)
    assert np.array_equal(before, after)
    colours = pixels[..., :1] if channels < 3 else pixels[..., :3]
    assert np.array_equal(before[0, ..., :3], np.broadcast_to(colours, (24, 32, 3)))


@with_vips
@pytest.mark.parametrize("kind", [PNG, TIFF])
def test_vips_sees_depth_and_bands(tmp_path: Path, kind: ImageFormat) -> None:
    for channels, bands in ((1, "1 band, b-w|grey16"), (4, "4 bands")):
        whole = deep_photo(channels=channels).clip(1)
        data = png(whole[..., 0] if channels == 1 else whole)
        path = write_file(reencode(data, kind, upscaled=True), tmp_path, f"deep{channels}.{kind}")
        header = call(shutil.which("vipsheader") or VIPS, path)
        assert "ushort" in header
        assert re.search(bands.split("|")[0].split(",")[0], header)


@with_vips
@pytest.mark.parametrize("kind", [JPEG, PNG, WEBP, TIFF])
@pytest.mark.parametrize("profile", [P3, ADOBE])
def test_wide_gamut_photo_keeps_its_colours(tmp_path: Path, kind: ImageFormat, profile: bytes) -> None:
    """By its profile every colour stays, also outside sRGB; the same values taken for sRGB differ."""
    saturated: Pixels = np.zeros((64, 64, 3), np.uint8)
    saturated[:32, :32], saturated[:32, 32:], saturated[32:, :32], saturated[32:, 32:] = (
        (20, 240, 30),
        (250, 20, 10),
        (30, 200, 220),
        (128, 128, 128),
    )
    given = write_file(file(saturated, icc_profile=profile), tmp_path, "given.png")
    for upscaled in (True, False):
        answer = reencode(given.read_bytes(), kind, upscaled=upscaled, quality=98)
        assert vips_difference(given, write_file(answer, tmp_path, f"answer.{kind}")) < (0.9 if kind is WEBP else 0.6)
    mistaken = write_file(file(saturated, icc_profile=srgb_profile()), tmp_path, "mistaken.png")
    assert vips_difference(given, mistaken) > 2


@with_vips
def test_cmyk_is_converted_by_its_profile(tmp_path: Path) -> None:
    """The result equals that of libvips; without the profile it differs."""
    original = write_file(file(photo(0, 64, 64)), tmp_path, "given.png")
    press = tmp_path / "press.jpg"
    call(VIPS, "icc_transform", original, f"{press}[Q=100,profile=cmyk]", "cmyk", "--input-profile", "srgb")
    cmyk = press.read_bytes()
    assert opened(cmyk).mode == "CMYK"
    assert opened(cmyk).info.get("icc_profile")
    expected = tmp_path / "expected.png"
    call(
        VIPS,
        "icc_transform",
        press,
        expected,
        "srgb",
        "--embedded",
        "--intent",
        "relative",
        "--black-point-compensation",
    )
    seen = np.asarray(Image.open(expected).convert("RGB"))
    converted = opened(reencode(cmyk, PNG))
    assert converted.info["icc_profile"] == srgb_profile()
    answer = np.asarray(converted.convert("RGB"))
    assert psnr(answer, seen) > 38
    bare = opened(cmyk)
    bare.info.clear()
    plain = np.asarray(opened(reencode(file(bare, "JPEG", quality=100), PNG)).convert("RGB"))
    assert psnr(plain, seen) < 30


@with_magick
def test_palette_with_transparency_equals_imagemagick(tmp_path: Path) -> None:
    image = Image.fromarray(photo()).quantize(16)
    data = file(image, transparency=bytes(range(0, 256, 16)))
    before = magick(write_file(data, tmp_path, "given.png"))
    after = magick(write_file(reencode(data), tmp_path, "answer.png"))
    visible = before[..., 3] > 0
    assert not visible.all()
    assert np.array_equal(after[..., 3], before[..., 3])
    assert np.array_equal(after[visible], before[visible])


@with_magick
@pytest.mark.parametrize("interlace", ["none", "PNG"])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_every_png_of_another_program_is_read(tmp_path: Path, interlace: str, depth: int) -> None:
    given = tmp_path / "given.png"
    options = ["-interlace", interlace, "-define", f"png:bit-depth={depth}"]
    colour = ["-colorspace", "Gray"] if depth < 8 else []
    call(
        MAGICK,
        write_file(png(deep_photo(0, 41, 57)), tmp_path, "source.png"),
        *colour,
        "-depth",
        depth,
        *options,
        given,
    )
    data = given.read_bytes()
    assert data[28] == (interlace == "PNG")
    after = magick(write_file(reencode(data, upscaled=True), tmp_path, "answer.png"), depth=16)
    assert np.array_equal(after, magick(given, depth=16))


@with_magick
@pytest.mark.parametrize("given", ["GIF", "PNG", "WEBP"])
def test_animation_equals_imagemagick(tmp_path: Path, given: str) -> None:
    """ImageMagick composes each frame from those before."""
    data = moving(given, 4, loop=0, alpha=True, **({"disposal": 2} if given == "GIF" else {}))
    path = write_file(reencode(data, GIF), tmp_path, "answer.gif")
    found = call(MAGICK, path, "-format", "%T:%D \n", "info:").split("\n")[:-1]
    assert [int(line.split(":")[0]) for line in found] == [5, 10, 15, 20]
    shown = magick(path, "-coalesce")
    expected = [np.asarray(frame.convert("RGBA")) for frame in _frames(data)]
    assert len(shown) == 4
    for one, other in zip(shown, expected, strict=True):
        visible = other[..., 3] >= 128
        assert np.array_equal(one[..., 3] > 0, visible)
        assert psnr(one[visible][:, :3], other[visible][:, :3]) > 22


@with_vips
def test_animated_webp_has_frames_durations_and_loop_count(tmp_path: Path) -> None:
    path = write_file(reencode(moving("GIF", 3, loop=0), WEBP), tmp_path, "answer.webp")
    header = call(shutil.which("vipsheader") or VIPS, "-a", path)
    assert "n-pages: 3" in header
    assert re.search(r"delay: 50 100 150", header)
    assert re.search(r"loop: 0", header)


@with_exiftool
def test_photo_of_a_phone(tmp_path: Path) -> None:
    """HEIC with an orientation in its box and in EXIF, in Display P3: equals libheif's own tool, with the profile."""
    heif = pytest.importorskip("pillow_heif")
    exif = camera_exif(6)
    upright = Image.fromarray(photo(0, 64, 96))
    stream = io.BytesIO()
    heif.from_pillow(upright).save(stream, quality=95, exif=exif.tobytes(), icc_profile=P3)
    data = stream.getvalue()
    assert inspect(data).format is ImageFormat.HEIC
    given = write_file(data, tmp_path, "given.heic")
    answer = write_file(reencode(data, metadata=MetadataPolicy.KEEP), tmp_path, "answer.jpg")
    found = exiftool(answer)
    assert found["File:FileType"] == "JPEG"
    assert tag(found, "Make") == "Kamera"
    assert found.get("IFD0:Orientation", 1) == 1
    shown = np.asarray(opened(answer.read_bytes()))
    convert = shutil.which("heif-convert")
    if convert:
        call(convert, "-q", "100", given, tmp_path / "expected.jpg")
        expected = np.asarray(opened((tmp_path / "expected.jpg").read_bytes()))
        assert shown.shape == expected.shape
        assert psnr(shown, expected) > 30
    assert opened(answer.read_bytes()).info["icc_profile"] == P3


def _frames(data: bytes) -> list[Image.Image]:
    image = opened(data)
    frames = []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        frames.append(image.copy())
    return frames
