"""Which batches a network is timed on. What is fitted to them is tested in test_cost_model.py."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.engine.calibration import CALIBRATION_AREAS, RUNS, Calibration, SampleType, calibrate, choose_batch
from service.engine.tiling import ImageTile, Tiling
from service.errors import OutOfDeviceMemory
from tests.service.pointwise import model


class Device:
    """Remembers the batches that it ran: sides, type and number of their planes, and whether exclusively.

    A batch takes a time for itself and one for each plane that it computes.
    """

    def __init__(self, batch_seconds: float = 0.001, plane_seconds: float = 0.0) -> None:
        self.batches: list[tuple[int, Any, int, bool]] = []
        self.padded: list[int] = []
        self.now = 0.0
        self._batch_seconds, self._plane_seconds = batch_seconds, plane_seconds

    def run(self, tiling: Tiling, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        plane = tiles[0].cut()
        assert plane.shape[0] == plane.shape[1]
        self.batches.append((plane.shape[0], plane.dtype, len(tiles), exclusive))
        self.padded.append(tiling.fixed_batch(tiles[0].tile))
        self.now += self._batch_seconds + self._plane_seconds * self.padded[-1]

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize("sample", [np.uint8, np.uint16])
def test_tiles_of_any_shape_are_timed_at_shares_of_the_largest(sample: SampleType) -> None:
    device = Device()
    fitted = calibrate(device.run, model(tile=6400).tiling, sample, device.clock).cost_model()
    small, large = ((int((area * 6400) ** 0.5), np.dtype(sample), 1) for area in CALIBRATION_AREAS)
    times = 1 + RUNS  # once to warm up
    assert device.batches == [(*small, False)] * times + [(*large, False)] * times + [(*large, True)] * times
    assert fitted.seconds(large[0] ** 2) > 0
    assert fitted.seconds(large[0] ** 2, exclusive=True) > 0


def test_batches_of_several_sizes_are_tried_for_every_side_of_square_tiles() -> None:
    device = Device()
    measured = calibrate(device.run, model(tile=400, batch=600, sides=(10, 20)).tiling, np.uint8, device.clock)
    tried = [(side, count, exclusive) for side, _, count, exclusive in device.batches[:: 1 + RUNS]]
    assert tried[:-1] == [(10, count, False) for count in (6, 4, 2, 1)] + [(20, 1, False)]
    assert tried[-1] == (20, measured.fixed_batches[20, 20], True)
    assert device.padded == [count for _, _, count, _ in device.batches]  # nothing but the tiles themselves is timed
    assert set(measured.fixed_batches) == {(10, 10), (20, 20)}


def test_batch_of_a_device_on_which_company_is_free_is_the_largest() -> None:
    device = Device(plane_seconds=0.00001)
    measured = calibrate(device.run, model(tile=100, batch=400, sides=(10,)).tiling, np.uint8, device.clock)
    assert measured.fixed_batches == {(10, 10): 4}


@pytest.mark.parametrize(
    ("milliseconds", "limit", "chosen"),
    [
        ({1: 0.99, 2: 1.75, 4: 3.28, 8: 6.2, 13: 9.9}, 13, 2),  # planes of 512² on an H200: company hardly pays
        ({1: 1.0, 2: 2.0, 4: 4.0}, 4, 1),
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.9, 20: 2.4}, 20, 8),
        ({1: 1.0, 2: 1.0, 3: 1.0}, 3, 3),
        ({1: 5.0}, 1, 1),
    ],
)
def test_batch_is_the_smallest_near_the_best_throughput(
    milliseconds: dict[int, float], limit: int, chosen: int
) -> None:
    assert choose_batch(milliseconds.__getitem__, limit) == (chosen, milliseconds[chosen])


def test_batches_that_do_not_fit_into_the_memory_are_not_chosen() -> None:
    tried = []

    def seconds(size: int) -> float:
        tried.append(size)
        if size > 2:
            raise OutOfDeviceMemory("too many planes")
        return 0.01

    assert choose_batch(seconds, 20) == (2, 0.01)
    assert tried == [20, 16, 8, 4, 2, 1]  # what fits comes last, and is still there


def test_network_of_which_not_one_plane_fits_is_not_calibrated() -> None:
    def seconds(size: int) -> float:
        raise OutOfDeviceMemory(f"{size} planes")

    with pytest.raises(OutOfDeviceMemory, match="1 planes"):
        choose_batch(seconds, 4)


def test_each_cost_model_is_corrected_by_itself() -> None:
    measured = Calibration(batches=((100, 0.2), (200, 0.3)), exclusive_seconds=0.1)
    one, other = measured.cost_model(), measured.cost_model()
    assert one.seconds(200) == other.seconds(200) == pytest.approx(0.3)
    assert one.seconds(200, exclusive=True) == pytest.approx(0.1)
    one.update(200, 0.6)
    assert one.seconds(200) > other.seconds(200)
