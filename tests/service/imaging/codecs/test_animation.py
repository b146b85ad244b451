import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.imaging.codecs import ImageFormat, Picture, Pixels, decode, inspect
from service.imaging.codecs.animation import write_animation
from service.imaging.codecs.gif import XMP_HEAD, XMP_TRAILER, iterate_frames, read_xmp
from service.imaging.codecs.timing import MAX_GIF_DURATION, MAX_LOOP_COUNTS, MAX_WEBP_DURATION, Timing
from tests.service.imaging.codecs.samples import encode_picture, moving, picture, pictures, psnr, reencode
from tests.service.imaging.images import photo

PNG, WEBP, GIF = ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.GIF
XMP_OPTION: dict[str, Any] = {"xmp": b"<xmp/>"}


def test_alpha_of_a_gif_is_binary() -> None:
    alpha = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(24, axis=0)
    found = picture(encode_picture(Picture(photo(), alpha), GIF)).alpha
    assert found is not None
    assert np.array_equal(found, np.where(alpha < 128, 0, 255))


@pytest.mark.parametrize("colours", [1, 3, 200])
@pytest.mark.parametrize("count", [1, 3])
def test_transparent_entry_of_a_gif_is_in_its_colour_table(count: int, colours: int) -> None:
    shown = np.random.default_rng(0).integers(0, 256, (colours, 3), np.uint8).repeat(3, axis=0)
    square = shown[None].repeat(len(shown), axis=0)
    frames = [np.dstack([square, np.uint8(255) * np.eye(len(shown), k=at, dtype=np.uint8)]) for at in range(count)]
    data = write_animation(frames, GIF, Timing([50] * count, 1), XMP_OPTION)
    for found, given in zip(iterate_frames(data), pictures(data), strict=True):
        assert found.control.transparent_index is not None
        assert 3 * found.control.transparent_index < len(found.colour_table)
        assert given.alpha is not None


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


@pytest.mark.parametrize("kind", [GIF, PNG, WEBP])
@pytest.mark.parametrize("duration", [655_360, 66_001, 17_000_000, 65_535_000])
def test_frames_may_last_longer_than_the_format_can_say(kind: ImageFormat, duration: int) -> None:
    data = write_animation([photo(0), photo(1), photo(2)], kind, Timing([duration] * 3, 0), XMP_OPTION)
    longest = {GIF: MAX_GIF_DURATION, WEBP: MAX_WEBP_DURATION, PNG: duration}[kind]
    assert [one.milliseconds for one in pictures(data)] == pytest.approx([min(duration, longest)] * 3, rel=1e-4)


@pytest.mark.parametrize("loop_count", [2**16 - 1, 2**16, 70_000, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("kind", [GIF, PNG, WEBP])
def test_animations_may_be_played_more_often_than_the_format_can_say(kind: ImageFormat, loop_count: int) -> None:
    data = write_animation([photo(0), photo(1)], kind, Timing([50, 50], loop_count), XMP_OPTION)
    assert decode(data).loop_count == min(loop_count, MAX_LOOP_COUNTS[kind])


@pytest.mark.parametrize("others", [[], [photo(1)]])
def test_equal_frames_of_a_gif_last_as_long_as_one_can(others: list[Pixels]) -> None:
    timing = Timing([400_000, 400_000, 400_000] + [50] * len(others), 0)
    data = write_animation([photo(0)] * 3 + others, GIF, timing, XMP_OPTION)
    assert [one.control.milliseconds for one in iterate_frames(data)] == [MAX_GIF_DURATION] + [50] * len(others)


def test_different_frames_of_a_gif_last_as_long_as_each_can() -> None:
    timing = Timing([400_000, 400_000, 255_350, 400_000], 0)
    data = write_animation([photo(0), photo(1), photo(1), photo(0)], GIF, timing, XMP_OPTION)
    assert [one.milliseconds for one in pictures(data)] == [400_000, MAX_GIF_DURATION, 400_000]


def test_equal_frames_of_a_webp_last_as_long_as_all_of_them() -> None:
    data = write_animation([photo(0)] * 3, WEBP, Timing([MAX_WEBP_DURATION] * 3, 0), XMP_OPTION)
    assert sum(one.milliseconds for one in pictures(data)) == 3 * MAX_WEBP_DURATION


def test_a_webp_of_many_long_frames_is_written() -> None:
    frames = [photo(seed % 2, 2, 2) for seed in range(200)]
    data = write_animation(frames, WEBP, Timing([MAX_WEBP_DURATION] * len(frames), 0), XMP_OPTION)
    assert [one.milliseconds for one in pictures(data)] == [(2**31 - 1) // len(frames)] * len(frames)


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
    assert data.endswith(b"\x21" + XMP_HEAD + b"<xmp/>" + XMP_TRAILER + b";")
    assert read_xmp(data) == b"<xmp/>"
    assert inspect(data).frames == len(pictures(data)) == 2


@pytest.mark.parametrize("kind", [PNG, WEBP])
def test_opaque_frames_among_transparent_ones_stay_opaque(kind: ImageFormat) -> None:
    transparent: Pixels = np.dstack([photo(1), np.zeros((24, 32), np.uint8)])
    frames = pictures(write_animation([photo(0), transparent], kind, Timing([50, 50], 1), {"lossless": True}))
    assert frames[0].alpha is None
    assert np.array_equal(frames[0].pixels, photo(0))
    assert frames[1].alpha is not None
    assert frames[1].alpha.max() == 0
