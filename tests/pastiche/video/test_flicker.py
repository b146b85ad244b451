import numpy as np
import pytest

from pastiche.video.flicker import Flicker


def plain(value: int, side: int = 4) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((side, side, 3), value, np.uint8)


def test_flicker_is_the_change_where_nothing_moves() -> None:
    flicker, moving = Flicker(), plain(100)
    moving[:2] = 200
    flicker.add(plain(100), plain(50))
    flicker.add(moving, plain(57))
    assert flicker.pixels == 8
    assert (flicker.given, flicker.made) == (0, 7)
    assert str(flicker) == "flicker: 7.00 levels of 256 where the video changes by 0.00"


def test_enlarged_results_are_reduced_again() -> None:
    flicker = Flicker()
    for value in (50, 60):
        flicker.add(plain(100), plain(value, side=16))
    assert flicker.made == pytest.approx(10)


def test_nothing_that_stands_still_has_no_flicker() -> None:
    flicker = Flicker()
    for value in (0, 100):
        flicker.add(plain(value), plain(value))
    assert (flicker.pixels, flicker.made, flicker.given) == (0, 0, 0)
    assert str(flicker) == "flicker: nothing stands still"


@pytest.mark.parametrize("frames", [0, 1])
def test_what_was_not_measured_is_not_called_still(frames: int) -> None:
    flicker = Flicker()
    for _ in range(frames):
        flicker.add(plain(100), plain(50))
    assert (flicker.pairs, flicker.pixels) == (0, 0)
    assert str(flicker).startswith("flicker: not measured")
