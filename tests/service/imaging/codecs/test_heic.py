import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.imaging.codecs import ImageFormat, decode, inspect
from service.imaging.codecs.heic import _divide_by_alpha, read_deep
from service.imaging.pixels import Pixels
from tests.service.imaging.codecs.isobmff_samples import clean_aperture, mirroring, rotation, with_properties
from tests.service.imaging.codecs.samples import deep_photo, picture, psnr
from tests.service.imaging.images import photo

pillow_heif = pytest.importorskip("pillow_heif")

MODES = {1: "L;10", 3: "RGB;10", 4: "RGBA;10"}
CROP = clean_aperture(10, 8, right=-3, down=2)


def heic(pixels: Pixels, **options: Any) -> bytes:
    stream, (height, width) = io.BytesIO(), pixels.shape[:2]
    is_deep = pixels.dtype == np.uint16
    mode = MODES[pixels.shape[2] if pixels.ndim == 3 else 1] if is_deep else "RGB"
    stored = pixels >> 6 if is_deep else pixels
    image = pillow_heif.from_bytes(mode, (width, height), stored.tobytes())
    image.save(stream, quality=-1, chroma=444, **options)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_bits_are_read(channels: int) -> None:
    expected = deep_photo(channels=channels)
    data = heic(expected)
    assert inspect(data).depth == 16
    shown = picture(data, keep_grey=True, keep_16_bit=True)
    assert shown.pixels.dtype == np.uint16
    assert np.abs(shown.pixels[..., :3].astype(int) - expected[..., :3]).mean() < 100
    assert (shown.alpha is not None) == (channels == 4)
    assert picture(data).pixels.dtype == np.uint8


def test_white_is_white() -> None:
    white = np.full((64, 64), 65_535, np.uint16)
    assert (read_deep(heic(white)) == 65_535).all()


def test_dark_parts_of_high_dynamic_range_have_no_bands() -> None:
    """Levels of PQ that differ in 10 bits alone are told apart."""
    levels = np.repeat(np.arange(6400, 8448, 64, dtype=np.uint16)[None, :], 24, axis=0)
    data = heic(levels, color_primaries=9, transfer_characteristics=16)
    image = decode(data, keep_16_bit=True)
    assert len(np.unique(next(image.pictures).pixels[0])) > 20


def test_premultiplied_alpha_is_divided() -> None:
    straight, shown = deep_photo(channels=4), deep_photo(channels=4)
    opacity = straight[..., 3:].astype(np.uint64)
    straight[..., :3] = (shown[..., :3] * opacity + 32_767) // 65_535
    visible = opacity[..., 0] > 1000
    assert np.abs(_divide_by_alpha(straight)[visible].astype(int) - shown[visible]).max() < 100


def test_answer_is_jpeg_unless_it_has_alpha() -> None:
    assert inspect(heic(deep_photo())).default_output_format is ImageFormat.JPEG
    assert inspect(heic(deep_photo(channels=4))).default_output_format is ImageFormat.PNG


@pytest.mark.parametrize(
    "boxes",
    [[CROP], [CROP, rotation(1)], [rotation(3), mirroring(1)], [mirroring(0), rotation(1)], [mirroring(1), CROP]],
)
def test_geometry_is_that_of_libvips(boxes: list[bytes], tmp_path: Path) -> None:
    vips = shutil.which("vips")
    if vips is None:
        pytest.skip("libvips is not installed")
    source, target = tmp_path / "in.heic", tmp_path / "out.png"
    source.write_bytes(data := with_properties(heic(photo()), boxes))
    if subprocess.run([vips, "copy", source, target], check=False, capture_output=True).returncode:
        pytest.skip("libvips reads no HEIC")
    expected = np.asarray(Image.open(target).convert("RGB"))
    assert inspect(data).upright_size == expected.shape[:2]
    assert psnr(picture(data).pixels, expected) > 40
