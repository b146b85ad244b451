"""Which batches a network is timed on. What is fitted to them is tested in test_cost_model.py."""

from collections.abc import Sequence
from time import sleep
from typing import Any

import numpy as np
import pytest

from service.engine.calibration import CALIBRATION_AREAS, SampleType, calibrate
from service.engine.tiling import ImageTile
from tests.service.pointwise import model


class Device:
    """Remembers the batches that it ran: sides, type and number of their planes, and whether exclusively."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, Any, int, bool]] = []

    def run(self, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        plane = tiles[0].cut()
        assert plane.shape[0] == plane.shape[1]
        self.batches.append((plane.shape[0], plane.dtype, len(tiles), exclusive))
        sleep(0.001)


@pytest.mark.parametrize("sample", [np.uint8, np.uint16])
def test_tiles_of_any_shape_are_timed_at_shares_of_the_largest(sample: SampleType) -> None:
    device = Device()
    fitted = calibrate(device.run, model(tile=6400).tiling, sample)
    small, large = ((int((area * 6400) ** 0.5), np.dtype(sample), 1) for area in CALIBRATION_AREAS)
    warmed_up_and_timed = [(*small, False)] * 2 + [(*large, False)] * 2 + [(*large, True)] * 2
    assert device.batches == warmed_up_and_timed
    assert fitted.seconds(large[0] ** 2) > 0
    assert fitted.seconds(large[0] ** 2, exclusive=True) > 0


def test_every_side_of_square_tiles_is_warmed_up() -> None:
    device = Device()
    calibrate(device.run, model(batch=400, sides=(10, 20)).tiling, np.uint8)
    assert [(side, exclusive) for side, _, _, exclusive in device.batches[::2]] == [
        (10, False),
        (20, False),
        (20, True),
    ]
