import numpy as np
import pytest

from service.errors import CorruptImage
from service.imaging.codecs import decode
from service.imaging.codecs.gif_frames import read_first_frame, read_frames
from service.imaging.pixels import Pixels
from tests.service.imaging.codecs.gif_samples import (
    BLUE,
    COLOURS,
    GREEN,
    RED,
    YELLOW,
    compress,
    filled,
    frame,
    gif,
)
from tests.service.imaging.codecs.samples import moving, picture, pictures

CLEAR = 255
"""Stands for a transparent pixel."""

PATTERN = (np.arange(10)[:, None] + np.arange(10)) % 4


def shown(data: bytes) -> list[Pixels]:
    """The frames as indices of the global colour table, and CLEAR."""
    return [_to_indices(pixels) for pixels, _ in read_frames(data)]


def _to_indices(pixels: Pixels) -> Pixels:
    matches = (pixels[:, :, None, :3] == COLOURS).all(axis=-1)
    assert (matches.any(axis=-1) | (pixels[..., 3] == 0)).all()
    return np.where(pixels[..., 3] == 0, CLEAR, matches.argmax(axis=-1)).astype(np.uint8)


def patched(ground: Pixels, index: int, left: int, top: int, right: int, bottom: int) -> Pixels:
    result = ground.copy()
    result[top:bottom, left:right] = index
    return result


RED_SCREEN = filled(RED, 10, 10)


def test_a_frame_is_drawn_on_the_one_before() -> None:
    frames = shown(gif(10, 10, frame(RED_SCREEN), frame(filled(GREEN, 5, 5), 2, 3)))
    assert np.array_equal(frames[0], RED_SCREEN)
    assert np.array_equal(frames[1], patched(RED_SCREEN, GREEN, 2, 3, 7, 8))


def test_a_frame_that_overhangs_the_screen_is_clipped() -> None:
    for interlaced in (False, True):
        frames = shown(gif(10, 10, frame(RED_SCREEN), frame(PATTERN, 4, 5, interlaced=interlaced)))
        assert np.array_equal(frames[1][5:, 4:], PATTERN[:5, :6])
        assert (frames[1][:5] == RED).all()


def test_a_frame_outside_the_screen_shows_nothing() -> None:
    frames = shown(gif(10, 10, frame(RED_SCREEN), frame(filled(GREEN, 4, 4), 20, 20), frame(filled(BLUE, 10, 10))))
    assert np.array_equal(frames[1], RED_SCREEN)
    assert (frames[2] == BLUE).all()


def test_a_frame_without_pixels_shows_nothing() -> None:
    empty = b"," + bytes(9) + compress([])
    assert [one.tolist() for one in shown(gif(10, 10, frame(RED_SCREEN), empty))] == [RED_SCREEN.tolist()] * 2


def test_what_no_frame_covers_is_transparent() -> None:
    data = gif(10, 10, frame(filled(BLUE, 4, 4), 2, 3))
    assert np.array_equal(shown(data)[0], patched(filled(CLEAR, 10, 10), BLUE, 2, 3, 6, 7))
    alpha = picture(data).alpha
    assert alpha is not None
    assert alpha.sum() == 255 * 16


def test_disposal_to_background_clears_the_frame() -> None:
    """Browsers show the page there, and not the background colour."""
    blocks = [frame(RED_SCREEN), frame(filled(GREEN, 5, 5), 2, 2, disposal=2), frame(filled(BLUE, 3, 3), 4, 4)]
    expected = patched(patched(RED_SCREEN, CLEAR, 2, 2, 7, 7), BLUE, 4, 4, 7, 7)
    assert np.array_equal(shown(gif(10, 10, *blocks))[2], expected)


@pytest.mark.parametrize("disposal", [3, 4])
def test_disposal_to_previous_restores_what_the_frame_covers(disposal: int) -> None:
    last = frame(filled(BLUE, 3, 3), 4, 4)
    blocks = [frame(RED_SCREEN), frame(filled(GREEN, 5, 5), 2, 2, disposal=disposal), last]
    assert np.array_equal(shown(gif(10, 10, *blocks))[2], patched(RED_SCREEN, BLUE, 4, 4, 7, 7))
    first = shown(gif(10, 10, frame(RED_SCREEN, disposal=disposal), last))
    assert np.array_equal(first[1], patched(filled(CLEAR, 10, 10), BLUE, 4, 4, 7, 7))


@pytest.mark.parametrize("disposal", [0, 1, 5, 6, 7])
def test_other_disposals_leave_the_frame(disposal: int) -> None:
    blocks = [frame(RED_SCREEN), frame(filled(GREEN, 5, 5), 2, 2, disposal=disposal), frame(filled(BLUE, 1, 1))]
    assert np.array_equal(shown(gif(10, 10, *blocks))[2][2:7, 2:7], filled(GREEN, 5, 5))


def test_transparent_pixels_leave_what_is_there() -> None:
    first, second = shown(gif(10, 10, frame(PATTERN, transparent=2), frame(filled(GREEN, 10, 10), transparent=GREEN)))
    assert np.array_equal(first, np.where(PATTERN == 2, CLEAR, PATTERN))
    assert np.array_equal(second, first)


def test_interlaced_rows_are_put_in_order() -> None:
    rows = np.arange(100).reshape(10, 10) // 10 % 4
    assert np.array_equal(shown(gif(10, 10, frame(rows, interlaced=True)))[0], rows)


def test_a_frame_has_the_colours_of_its_own_table() -> None:
    reversed_table = COLOURS[::-1].tobytes()
    assert np.array_equal(shown(gif(10, 10, frame(PATTERN, table=reversed_table)))[0], 3 - PATTERN)


def test_colours_that_no_table_has_are_black() -> None:
    assert not read_first_frame(gif(10, 10, frame(PATTERN), table=None))[..., :3].any()
    two = read_first_frame(gif(10, 10, frame(PATTERN), table=COLOURS[:2].tobytes()))
    assert np.array_equal(two[..., :3].any(axis=-1), PATTERN < 2)
    assert (two[..., 3] == 255).all()


def test_frames_without_a_duration_are_kept() -> None:
    blocks = [frame(filled(index, 4, 4), ticks=ticks) for index, ticks in ((RED, 0), (GREEN, 0), (BLUE, 1))]
    assert [one.milliseconds for one in pictures(gif(4, 4, *blocks))] == [0, 0, 10]


def test_stray_bytes_between_frames_are_skipped() -> None:
    data = gif(4, 4, frame(filled(RED, 4, 4)), bytes(3), frame(filled(BLUE, 4, 4)), b"\x01\x02xyz")
    assert [one[0, 0] for one in shown(data)] == [RED, BLUE]


@pytest.mark.parametrize("end", [b"", bytes(50), b"\x21\xfe\x04cut"])
def test_a_file_without_end_is_decoded(end: bytes) -> None:
    two = gif(4, 4, frame(filled(RED, 4, 4)), frame(filled(BLUE, 4, 4)), end=end)
    assert [one[0, 0] for one in shown(two)] == [RED, BLUE]
    assert [one[0, 0] for one in shown(gif(4, 4, frame(filled(YELLOW, 4, 4)), end=end))] == [YELLOW]


def test_excess_pixels_are_ignored() -> None:
    block = bytearray(frame(filled(GREEN, 13, 10)))
    block[7:9] = (10).to_bytes(2, "little")
    assert (shown(gif(10, 10, bytes(block)))[0] == GREEN).all()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("cut", [10, 30, len(frame(PATTERN)) - 10, len(frame(PATTERN)) - 11])
def test_a_file_cut_within_a_frame_is_refused(count: int, cut: int) -> None:
    data = gif(10, 10, *[frame(PATTERN)] * count, end=b"")
    with pytest.raises(CorruptImage, match="gif image ends before its last pixels; send a complete file"):
        pictures(data[:-cut])


def test_frames_before_the_damage_are_decoded() -> None:
    data = moving("GIF", 4)
    frames = decode(data[: len(data) * 3 // 4]).pictures
    assert next(frames).pixels.shape == (24, 32, 3)
    with pytest.raises(CorruptImage):
        list(frames)
