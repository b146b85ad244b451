import struct
import zlib
from typing import NamedTuple

import numpy as np
import pytest

from service.errors import CorruptImage
from service.imaging.codecs import decode, inspect
from service.imaging.codecs.apng_frames import read_first_frame, read_frames
from service.imaging.pixels import Pixels, to_8_bits
from tests.service.imaging.codecs.samples import chunk, deep_photo, moving, picture, pictures, png
from tests.service.imaging.images import photo

RED, BLUE, HALF_BLUE, CLEAR = (255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 255, 128), (0, 0, 0, 0)
TO_BACKGROUND, TO_PREVIOUS = 1, 2
SIDE = 8


class Frame(NamedTuple):
    """A frame as it is stored."""

    pixels: Pixels
    left: int = 0
    top: int = 0
    disposal: int = 0
    over: bool = False
    delay: tuple[int, int] = (1, 10)

    def describe(self, sequence: int) -> bytes:
        """The chunk before its pixels."""
        height, width = self.pixels.shape[:2]
        place = struct.pack(">5I", sequence, width, height, self.left, self.top)
        return chunk(b"fcTL", place + struct.pack(">HHBB", *self.delay, self.disposal, self.over))


def filled(colour: tuple[int, ...], side: int = SIDE) -> Pixels:
    return np.full((side, side, len(colour)), colour, np.uint8)


def animated(*frames: Frame, default: Pixels | None = None) -> bytes:
    """An animated PNG whose first frame has its size, or of a default image and frames."""
    canvas = frames[0].pixels if default is None else default
    pieces = [png(canvas)[:33], chunk(b"acTL", struct.pack(">II", len(frames), 0))]
    if default is not None:
        pieces.append(chunk(b"IDAT", compress(default)))
    sequence = 0
    for frame in frames:
        pieces.append(frame.describe(sequence))
        stored = compress(frame.pixels)
        in_default = sequence == 0 and default is None
        pieces.append(
            chunk(b"IDAT", stored) if in_default else chunk(b"fdAT", struct.pack(">I", sequence + 1) + stored)
        )
        sequence += 1 if in_default else 2
    return b"".join([*pieces, chunk(b"IEND", b"")])


def compress(pixels: Pixels) -> bytes:
    stored = pixels.astype(pixels.dtype.newbyteorder(">"))
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in stored))


def shown(data: bytes) -> list[Pixels]:
    return [pixels for pixels, _ in read_frames(data)]


def patched(ground: Pixels, colour: tuple[int, ...], left: int, top: int, side: int) -> Pixels:
    result = ground.copy()
    result[top : top + side, left : left + side] = colour
    return result


def test_a_frame_is_drawn_on_the_one_before() -> None:
    frames = shown(animated(Frame(filled(RED)), Frame(filled(BLUE, 3), 2, 1)))
    assert np.array_equal(frames[0], filled(RED))
    assert np.array_equal(frames[1], patched(filled(RED), BLUE, 2, 1, 3))


def test_a_frame_that_is_not_blended_replaces_what_is_there() -> None:
    frames = shown(animated(Frame(filled(RED)), Frame(filled(HALF_BLUE, 3), 2, 1)))
    assert np.array_equal(frames[1], patched(filled(RED), HALF_BLUE, 2, 1, 3))


def test_a_blended_frame_lets_through_what_is_there() -> None:
    frames = shown(animated(Frame(filled(RED)), Frame(filled(HALF_BLUE, 3), 2, 1, over=True)))
    assert np.abs(frames[1][1, 2].astype(int) - (127, 0, 128, 255)).max() <= 1
    on_nothing = shown(animated(Frame(filled(CLEAR)), Frame(filled(HALF_BLUE, 3), 2, 1, over=True)))
    assert np.array_equal(on_nothing[1], patched(filled(CLEAR), HALF_BLUE, 2, 1, 3))


@pytest.mark.parametrize(("disposal", "left_over"), [(0, BLUE), (TO_BACKGROUND, CLEAR), (TO_PREVIOUS, RED)])
def test_a_frame_is_disposed_of(disposal: int, left_over: tuple[int, ...]) -> None:
    data = animated(Frame(filled(RED)), Frame(filled(BLUE, 3), 2, 1, disposal), Frame(filled(CLEAR, 1), over=True))
    assert np.array_equal(shown(data)[2], patched(filled(RED), left_over, 2, 1, 3))


def test_disposal_of_the_first_frame_to_what_was_before_clears_it() -> None:
    data = animated(Frame(filled(RED), disposal=TO_PREVIOUS), Frame(filled(BLUE, 3), 2, 1))
    assert np.array_equal(shown(data)[1], patched(filled(CLEAR), BLUE, 2, 1, 3))


def test_a_default_image_is_not_part_of_the_animation() -> None:
    small = Frame(filled(HALF_BLUE, 3), 2, 1, over=True)
    expected = patched(filled(CLEAR), HALF_BLUE, 2, 1, 3)
    single = animated(small, default=filled(RED))
    assert inspect(single).frames == 1
    assert np.array_equal(read_first_frame(single), expected)
    alpha = picture(single).alpha
    assert alpha is not None
    assert np.array_equal(alpha, expected[..., 3])
    assert np.array_equal(shown(animated(small, small, default=filled(RED)))[0], expected)


@pytest.mark.parametrize(("delay", "milliseconds"), [((1, 10), 100), ((3, 0), 30), ((0, 30), 0), ((33, 1000), 33)])
def test_durations_are_fractions_of_a_second(delay: tuple[int, int], milliseconds: int) -> None:
    data = animated(Frame(filled(RED), delay=delay), Frame(filled(BLUE), delay=delay))
    assert [one.milliseconds for one in pictures(data)] == [milliseconds] * 2


@pytest.mark.parametrize(("rate", "count", "total"), [(30, 30, 1000), (60, 60, 1000), (2400, 24, 10)])
def test_rounded_durations_add_up(rate: int, count: int, total: int) -> None:
    durations = [one.milliseconds for one in pictures(animated(*[Frame(filled(RED), delay=(1, rate))] * count))]
    assert sum(durations) == total
    assert max(durations) - min(durations) <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_colour_type_and_depth_is_decoded(channels: int, dtype: type[np.generic]) -> None:
    eight = np.dstack([photo(1), photo(2)])[..., [3, 0, 1, 2][:channels] if channels != 2 else [0, 3]]
    stored = eight.astype(dtype) * (257 if dtype is np.uint16 else 1)
    data = animated(Frame(stored), Frame(stored[::-1]))
    colours = eight[..., :3] if channels > 2 else eight[..., :1].repeat(3, axis=-1)
    found = [to_8_bits(frame) for frame in shown(data)]
    assert {frame.dtype for frame in shown(data)} == {np.dtype(dtype)}
    assert np.array_equal(found[0][..., :3], colours)
    assert np.array_equal(found[1][..., :3], colours[::-1])
    assert np.array_equal(found[0][..., 3], eight[..., -1] if channels in (2, 4) else np.full(eight.shape[:2], 255))


@pytest.mark.parametrize("declared", [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cICP", bytes([1, 8, 0, 1]))])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frames_of_16_bits_have_the_colours_of_a_still(declared: bytes, channels: int) -> None:
    dark = deep_photo(1, channels=channels) // 64
    dark[..., 3:] = 65_535
    still = picture(png(dark, declared)).pixels
    data = animated(Frame(dark), Frame(dark[::-1]))
    first, second = pictures(data[:33] + declared + data[33:])
    assert len(np.unique(still)) > 20  # 8 bits of linear light have 5 levels there
    assert np.array_equal(first.pixels, still)
    assert np.array_equal(second.pixels, still[::-1])


def test_frames_of_16_bits_are_blended_in_16_bits() -> None:
    below, above = deep_photo(1, channels=4), deep_photo(2, channels=4)
    below[:2, ..., 3], above[1:3, ..., 3] = 0, 0
    _, found = shown(animated(Frame(below), Frame(above, over=True)))
    under, over = below / 65_535, above / 65_535
    alpha = over[..., 3] + under[..., 3] * (1 - over[..., 3])
    mixed = over[..., :3] * over[..., 3:] + under[..., :3] * under[..., 3:] * (1 - over[..., 3:])
    assert np.abs(found[..., 3] - alpha * 65_535).max() < 1
    assert np.abs(found[..., :3] / 65_535 * alpha[..., None] - mixed).max() < 1 / 65_535


def test_the_only_frame_beside_a_default_image_keeps_16_bits() -> None:
    shown_alone = deep_photo(1, channels=4)
    data = animated(Frame(shown_alone), default=deep_photo(2, channels=4))
    assert (inspect(data).frames, inspect(data).depth) == (1, 16)
    found = picture(data, keep_16_bit=True)
    assert found.alpha is not None
    assert np.array_equal(np.dstack([found.pixels, found.alpha]), shown_alone)


@pytest.mark.parametrize(("left", "top", "side"), [(6, 0, 3), (0, 6, 3), (2**31 - 1, 0, 3), (0, 0, 0)])
def test_a_frame_that_is_not_within_the_image_is_refused(left: int, top: int, side: int) -> None:
    data = animated(Frame(filled(RED)), Frame(filled(BLUE, side), left, top))
    with pytest.raises(CorruptImage, match="a frame of the png image"):
        pictures(data)


def test_a_frame_with_a_broken_header_is_refused() -> None:
    data = animated(Frame(filled(RED)), Frame(filled(BLUE)))
    at = data.rindex(b"fcTL") - 4
    broken = data[:at] + chunk(b"fcTL", data[at + 8 : at + 30]) + data[at + 38 :]
    with pytest.raises(CorruptImage):
        pictures(broken)


def test_frames_before_missing_pixels_are_decoded() -> None:
    data = animated(Frame(filled(RED)), Frame(filled(BLUE)))
    at = data.rindex(b"fdAT") - 4
    short = data[at + 8 : -12 - 4][:-4]
    frames = decode(data[:at] + chunk(b"fdAT", short[: len(short) // 2]) + chunk(b"IEND", b"")).pictures
    assert (next(frames).pixels == RED[:3]).all()
    with pytest.raises(CorruptImage):
        next(frames)


def test_a_frame_without_its_last_rows_is_refused() -> None:
    data = animated(Frame(filled(RED)), Frame(filled(BLUE)))
    at = data.index(b"fdAT")
    whole = data[at + 8 : at + 4 + int.from_bytes(data[at - 4 : at])]
    short = chunk(b"fdAT", data[at + 4 : at + 8] + zlib.compress(zlib.decompress(whole)[:99]))
    frames = read_frames(data[: at - 4] + short + chunk(b"IEND", b""))
    assert next(frames)[0].shape == (SIDE, SIDE, 4)
    with pytest.raises(CorruptImage, match="end before its last row"):
        next(frames)


def test_frames_of_pillow_are_read() -> None:
    for seed, one in enumerate(pictures(moving("PNG", 3))):
        assert np.array_equal(one.pixels, photo(seed))
