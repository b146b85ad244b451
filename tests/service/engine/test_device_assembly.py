from pathlib import Path

import pytest
import torch

from service.engine.device_assembly import assemble_device, free_bytes, residency_limits
from service.engine.scheduler import Concurrency
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.service.engine.runners import stored
from tests.service.live import publish, settings


@pytest.mark.parametrize(("threads", "lanes"), [(1, 1), (2, 2)])
def test_lanes_share_the_threads(tmp_path: Path, threads: int, lanes: int) -> None:
    device = assemble_device(settings(tmp_path, threads=threads, lanes=2), Metrics())
    assert (device.pool.lanes, device.concurrency.lanes) == (lanes, lanes)
    assert device.concurrency.exclusive_batches == (lanes > 1)
    assert (device.precisions, device.tile_sizes.sides) == ((torch.float32,), ())
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


def test_devices_have_lanes_of_their_own_and_share_their_measurements(tmp_path: Path) -> None:
    publish(tmp_path)
    two = [torch.device("cpu", number) for number in range(2)]
    device = assemble_device(settings(tmp_path, threads=2, lanes=2), Metrics(), devices=two)
    assert (device.pool.lanes, device.concurrency) == (4, Concurrency(4, exclusive_batches=False, devices=2))
    loaded = device.loader.load(stored(tmp_path))
    assert set(loaded.default.copies) == {torch.device("cpu", 1)}
    device.pool.close()


def test_memory_of_a_processor_is_no_bound() -> None:
    assert free_bytes([torch.device("cpu")]) is None


def test_processes_share_the_memory_of_a_gpu_for_weights() -> None:
    alone = residency_limits(Settings(), 10**9).device
    assert residency_limits(Settings(processes=4), 10**9).device == alone // 4 > 0
    assert residency_limits(Settings(processes=4, resident_bytes=7), 10**9).device == 7
