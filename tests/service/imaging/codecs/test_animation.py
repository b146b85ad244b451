import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.imaging.codecs import ImageFormat, Picture, Pixels, decode, inspect
from service.imaging.codecs.animation import XMP_BLOCK_BEGIN, XMP_BLOCK_END, Timing, write_animation
from tests.service.imaging.codecs.samples import encode_picture, moving, picture, pictures, psnr, reencode
from tests.service.imaging.images import file, photo

PNG, WEBP, GIF = ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.GIF
XMP_OPTION: dict[str, Any] = {"xmp": b"<xmp/>"}


def test_alpha_of_a_gif_is_binary() -> None:
    alpha = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(24, axis=0)
    found = picture(encode_picture(Picture(photo(), alpha), GIF)).alpha
    assert found is not None
    assert np.array_equal(found, np.where(alpha < 128, 0, 255))


@pytest.mark.parametrize("given", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("kind", [GIF, PNG, WEBP])
def test_frames_keep_count_and_durations(given: str, kind: ImageFormat) -> None:
    data = reencode(moving(given, 3, loop=2), kind)
    assert inspect(data).frames == 3
    before, after = decode(moving(given, 3, loop=2)), decode(data)
    assert after.loop_count == before.loop_count
    for one, other in zip(before.pictures, after.pictures, strict=True):
        assert other.milliseconds == one.milliseconds
        assert psnr(one.pixels, other.pixels) > 22


@pytest.mark.parametrize(
    ("given", "expected"),
    [([33, 67, 33], [30, 70, 30]), ([16, 17, 8, 5], [20, 20, 20, 20]), ([45, 45, 45], [40, 50, 50])],
)
def test_durations_of_a_gif_are_rounded_to_centiseconds(given: list[int], expected: list[int]) -> None:
    frames = [Image.fromarray(photo(seed)) for seed in range(len(given))]
    data = reencode(file(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=given), GIF)
    assert [frame.milliseconds for frame in pictures(data)] == expected


@pytest.mark.parametrize("kind", [GIF, PNG, WEBP])
def test_frames_keep_their_transparency(kind: ImageFormat) -> None:
    given = moving("PNG", 3, alpha=True)
    for one, other in zip(pictures(given), pictures(reencode(given, kind)), strict=True):
        assert one.alpha is not None
        assert other.alpha is not None
        assert np.array_equal(one.alpha, other.alpha)


@pytest.mark.parametrize(("loop_count", "stored"), [(0, 0), (1, None), (2, 1), (5, 4)])
def test_gif_stores_the_number_of_repetitions(loop_count: int, stored: int | None) -> None:
    data = write_animation([photo(0), photo(1)], GIF, Timing([50, 50], loop_count), XMP_OPTION)
    assert Image.open(io.BytesIO(data)).info.get("loop") == stored


def test_xmp_of_a_gif_follows_its_frames() -> None:
    data = write_animation([photo(0), photo(1)], GIF, Timing([50, 50], 1), XMP_OPTION)
    assert data.startswith(b"GIF89a")
    assert data.endswith(XMP_BLOCK_BEGIN + b"<xmp/>" + XMP_BLOCK_END + b";")
    assert inspect(data).frames == len(pictures(data)) == 2


@pytest.mark.parametrize("kind", [PNG, WEBP])
def test_opaque_frames_among_transparent_ones_stay_opaque(kind: ImageFormat) -> None:
    transparent: Pixels = np.dstack([photo(1), np.zeros((24, 32), np.uint8)])
    frames = pictures(write_animation([photo(0), transparent], kind, Timing([50, 50], 1), {"lossless": True}))
    assert frames[0].alpha is None
    assert np.array_equal(frames[0].pixels, photo(0))
    assert frames[1].alpha is not None
    assert frames[1].alpha.max() == 0
