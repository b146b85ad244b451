from pathlib import Path

import pytest
import torch

from service.engine.device_assembly import assemble_device
from service.telemetry.metrics import Metrics
from tests.service.engine.runners import stored
from tests.service.live import publish, settings


@pytest.mark.parametrize(("threads", "lanes"), [(1, 1), (2, 2)])
def test_lanes_share_the_threads(tmp_path: Path, threads: int, lanes: int) -> None:
    device = assemble_device(settings(tmp_path, threads=threads, lanes=2), Metrics())
    assert (device.pool.lanes, device.concurrency.lanes) == (lanes, lanes)
    assert device.concurrency.exclusive_batches == (lanes > 1)
    assert (device.precision, device.tile_sizes.sides) == (torch.float32, ())
    device.pool.close()


def test_networks_are_timed_only_where_that_is_wanted(tmp_path: Path) -> None:
    publish(tmp_path)
    for timed in (True, False):
        device = assemble_device(settings(tmp_path), Metrics(), timed=timed)
        cost = device.loader.load(stored(tmp_path)).default.cost_model
        assert (cost.seconds(10**6) > 0) == timed
        device.pool.close()


def test_device_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cuda:99 does not exist"):
        assemble_device(settings(tmp_path, device="cuda:99"), Metrics())
