from pathlib import Path

import numpy as np
import pytest

from model_store import Golden, GoldenMismatch, StoredModel
from service.errors import DeviceLost, OutOfDeviceMemory
from tests.service.engine.runners import GONE, Controlled, made_pool, stored
from tests.service.engine.test_runner_pool import result
from tests.service.imaging.images import photo
from tests.service.live import painted, publish, same


def test_each_device_has_a_copy_of_its_own_with_one_tiling_and_one_cost(tmp_path: Path) -> None:
    publish(tmp_path)
    loader = made_pool(Controlled(), Controlled())
    loaded = loader.submit(stored(tmp_path)).result()
    one, other = (loaded.default.on(runner.device) for runner in loader.pool.runners)
    assert one is loaded.default
    assert one.network is not other.network
    assert one.tiling.fixed_batches == other.tiling.fixed_batches
    assert loaded.default is loaded.fp32
    assert loaded.on(loader.pool.runners[1].device).default is other
    loader.pool.close()


def test_every_device_verifies_the_golden_output(tmp_path: Path) -> None:
    publish(tmp_path)
    backends = Controlled(), Controlled()
    loader, model = made_pool(*backends), stored(tmp_path)
    with pytest.raises(GoldenMismatch, match="wave@1: the largest difference"):
        loader.load(StoredModel(model.manifest, model.network, Golden(model.golden.input, 1 - model.golden.output)))
    backends[1].fault = MemoryError()
    with pytest.raises(OutOfDeviceMemory):
        loader.load(model)
    loader.pool.close()


@pytest.mark.parametrize("lost", [0, 1])
def test_model_is_loaded_onto_the_devices_that_are_left(tmp_path: Path, lost: int) -> None:
    publish(tmp_path)
    backends = Controlled(), Controlled()
    loader = made_pool(*backends)
    backends[lost].fault = GONE
    loaded = loader.load(stored(tmp_path))
    assert [runner.device.index for runner in loader.pool.working] == [1 - lost]
    assert same(result(loader, loaded.default, photo()), painted(tmp_path, photo()))
    backends[1 - lost].fault = GONE
    with pytest.raises(DeviceLost):
        loader.load(stored(tmp_path))
    loader.pool.close()


def test_bytes_do_not_depend_on_the_device(tmp_path: Path) -> None:
    publish(tmp_path)
    loader = made_pool(Controlled(), Controlled())
    network = loader.load(stored(tmp_path)).default
    first = result(loader, network, photo())
    loader.pool.runners[0].lost = "gone"
    np.testing.assert_array_equal(result(loader, network, photo()), first)
    loader.pool.close()
