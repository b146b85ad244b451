import numpy as np
import pytest
from av.video.reformatter import Colorspace

from pastiche.pictures import Array
from pastiche.video.colours import VideoColours
from service.imaging.codecs.hdr import HdrTransfer
from tests.service.imaging.images import photo


@pytest.mark.parametrize("matrix", [1, 6, 9, 2])
@pytest.mark.parametrize("range_", [1, 2, 0])
@pytest.mark.parametrize("depth", [8, 10])
def test_colours_survive_the_way_there_and_back(matrix: int, range_: int, depth: int) -> None:
    colours = VideoColours(matrix, range_, 1, 1, depth, 48)
    pixels = photo(1, 48, 64) if depth == 8 else photo(1, 48, 64).astype(np.uint16) * 257
    frame = colours.from_rgb(pixels, "yuv444p" if depth == 8 else "yuv444p10le")
    assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (matrix, 1, 1)
    back = colours.to_rgb(frame)
    assert back.dtype == pixels.dtype
    assert np.abs(back.astype(float) - pixels).max() <= (4 if depth == 8 else 4 * 257)
    assert VideoColours.of(frame).depth == depth


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_colours_of_8_bits_are_neither_tinted_nor_darkened(matrix: int, range_: int, pixel_format: str) -> None:
    """A level on the way there and back is lost to rounding, but not always the same way."""
    colours = VideoColours(matrix, range_, 2, 2, 8, 480)
    levels = np.arange(16, 240, dtype=np.uint8)
    greys = np.repeat(levels[:, None], 3, axis=1)
    errors = np.array([_there_and_back(colours, level, pixel_format) - level for level in greys.astype(int)])
    assert np.abs(errors).max() <= 1
    assert np.abs(errors.mean(axis=0)).max() < 0.1


def _there_and_back(colours: VideoColours, level: Array, pixel_format: str) -> Array:
    """What becomes of one colour in the middle of a frame."""
    frame = np.broadcast_to(level.astype(np.uint8), (32, 32, 3))
    pixels = colours.to_rgb(colours.from_rgb(np.ascontiguousarray(frame), pixel_format))
    return np.asarray(pixels[16, 16], dtype=int)


def test_matrix_that_is_not_declared_follows_from_the_size() -> None:
    assert VideoColours(2, 0, 2, 2, 8, 480).colorspace is Colorspace.ITU601
    assert VideoColours(2, 0, 2, 2, 8, 1080).colorspace is Colorspace.ITU709


def test_rgb_declares_no_matrix_once_it_is_encoded() -> None:
    assert VideoColours(0, 2, 1, 13, 8, 480).declared_matrix == 2


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.5806), (18, 0.75)])
def test_white_of_high_dynamic_range_is_that_of_a_screen(transfer: int, white: float) -> None:
    """203 cd/m² have these values (ITU-R BT.2408, table 1); most of a screen's range is for what is darker."""
    colours = VideoColours(9, 1, 9, transfer, 10, 48)
    grey = colours.to_sdr(np.full((2, 2, 3), round(white * 65535), np.uint16))
    assert np.ptp(grey) <= 1
    assert 0.75 * 65535 < grey.mean() < 0.9 * 65535  # brighter light has the rest
    assert colours.of_result == VideoColours(1, 1, 1, 1, 10, 48)


def test_primaries_that_a_video_of_high_dynamic_range_does_not_declare_are_those_of_bt2020() -> None:
    declared, silent = VideoColours(9, 1, 9, 16, 10, 48).hdr, VideoColours(9, 1, 2, 16, 10, 48).hdr
    assert declared == silent
    assert declared is not None
    assert declared.transfer is HdrTransfer.PQ


def test_colours_of_other_videos_stay_as_they_are() -> None:
    colours = VideoColours(9, 1, 9, 14, 10, 48)
    pixels = photo(1, 4, 4).astype(np.uint16)
    assert colours.hdr is None
    assert colours.of_result is colours
    assert colours.to_sdr(pixels) is pixels
