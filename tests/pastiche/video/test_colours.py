import numpy as np
import pytest
from av.video.reformatter import Colorspace

from pastiche.video.colours import VideoColours
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


def test_matrix_that_is_not_declared_follows_from_the_size() -> None:
    assert VideoColours(2, 0, 2, 2, 8, 480).colorspace is Colorspace.ITU601
    assert VideoColours(2, 0, 2, 2, 8, 1080).colorspace is Colorspace.ITU709


def test_rgb_declares_no_matrix_once_it_is_encoded() -> None:
    assert VideoColours(0, 2, 1, 13, 8, 480).declared_matrix == 2
