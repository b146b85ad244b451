from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

import pastiche
from pastiche.video import painting
from pastiche.video.colours import VideoColours
from pastiche.video.flicker import Flicker
from pastiche.video.painting import MOST_AT_ONCE, paint
from pastiche.video.source import Frame
from tests.pastiche.video.clips import HEIGHT, WIDTH, panned

COLOURS = VideoColours(1, 1, 1, 1, 8, HEIGHT)


class Frames:
    """Counts those that were taken."""

    def __init__(self, count: int) -> None:
        self.taken = 0
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        while self.taken < self._count:
            self.taken += 1
            yield Frame(panned(self.taken), self.taken * 24, 24, Fraction(4, 3), COLOURS)


def test_results_have_the_times_of_their_frames(style: pastiche.Model) -> None:
    flicker = Flicker()
    painted = list(paint(iter(Frames(11)), style, {"strength": "0"}, flicker))
    assert [frame.pts for frame in painted] == [number * 24 for number in range(1, 12)]
    np.testing.assert_array_equal(painted[10].pixels, panned(11))
    assert {(frame.duration, frame.pixel_aspect, frame.colours) for frame in painted} == {(24, Fraction(4, 3), COLOURS)}
    assert flicker.pixels > 0


@pytest.mark.parametrize(("pixels", "most"), [(HEIGHT * WIDTH * 3, 3), (1, 1), (10**9, MOST_AT_ONCE)])
def test_few_frames_are_in_memory(
    style: pastiche.Model, monkeypatch: pytest.MonkeyPatch, pixels: int, most: int
) -> None:
    monkeypatch.setattr(painting, "PIXELS_AT_ONCE", pixels)
    frames, taken = Frames(20), list[int]()
    for _ in paint(iter(frames), style, {}, Flicker()):
        taken.append(frames.taken)
    assert taken[:2] == [1, 1 + most]
    assert max(ahead - done for done, ahead in enumerate(taken)) == most
