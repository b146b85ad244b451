import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from service.engine.loaded_model import LoadedNetwork
from service.engine.pool_loader import PoolLoader
from service.engine.runner import Runner
from service.engine.tiling import ImageTile, TiledImage
from service.errors import DeviceLost, OutOfDeviceMemory
from service.imaging.pixels import Pixels
from tests.networks import network
from tests.service.engine.runners import GONE, Controlled, made_pool, stored, value
from tests.service.imaging.images import photo
from tests.service.live import STYLE, painted, publish, same

IMAGES = [photo(seed, 40, 50) for seed in range(3)]


@contextmanager
def devices(*backends: Controlled) -> Iterator[PoolLoader]:
    loader = made_pool(*backends)
    try:
        yield loader
    finally:
        for backend in backends:
            backend.may_run.set()
        loader.pool.close()


def submitted(loader: PoolLoader, subject: LoadedNetwork, image: Pixels) -> tuple[TiledImage, Future[None]]:
    tiled = TiledImage(image, subject.tiling)
    return tiled, loader.pool.submit(subject, [ImageTile(tiled, tile) for tile in tiled.tiles], False)


def result(loader: PoolLoader, subject: LoadedNetwork, image: Pixels) -> Pixels:
    tiled, future = submitted(loader, subject, image)
    future.result()
    return tiled.result


def hold(backends: Sequence[Controlled]) -> None:
    for backend in backends:
        backend.batches = 0
        backend.may_run.clear()


def let_go(backends: Sequence[Controlled]) -> None:
    for backend in backends:
        backend.may_run.set()


def test_batch_goes_to_the_device_that_has_the_fewest(tmp_path: Path) -> None:
    publish(tmp_path)
    backends = [Controlled() for _ in range(3)]
    with devices(*backends) as loader:
        subject = loader.load(stored(tmp_path)).default
        assert loader.pool.lanes == 3
        hold(backends)
        waiting = [submitted(loader, subject, photo()) for _ in range(3)]
        backends[1].may_run.set()
        waiting[1][1].result()
        waiting += [submitted(loader, subject, photo()) for _ in range(3)]
        let_go(backends)
        for image, future in waiting:
            future.result()
            assert same(image.result, painted(tmp_path, photo()))
        assert sum(backend.batches for backend in backends) == 6
        assert backends[1].batches >= 2


@pytest.mark.parametrize("norm", ["batch", "thumbnail"])
@pytest.mark.parametrize("lost", [0, 2])
def test_others_compute_what_a_lost_device_had(tmp_path: Path, norm: str, lost: int) -> None:
    publish(tmp_path, built=network(STYLE, norm=norm))
    backends = [Controlled() for _ in range(3)]
    with devices(*backends) as loader:
        pool, subject = loader.pool, loader.load(stored(tmp_path)).default
        before = [result(loader, subject, image) for image in IMAGES]
        hold(backends)
        waiting = [submitted(loader, subject, image) for image in IMAGES]
        backends[lost].fault = GONE
        let_go(backends)
        for (image, future), expected in zip(waiting, before, strict=True):
            future.result()
            np.testing.assert_array_equal(image.result, expected)
        gone, first = pool.runners[lost], pool.working[0]
        assert (pool.lost, pool.lanes, len(pool.working)) == (None, 2, 2)
        assert [value(gone, "device_available", device=f"cpu:{number}") for number in (lost, 1)] == [0, 1]
        [warning] = pool.warnings
        assert warning.startswith(f"cpu:{lost} failed: AcceleratorError; the service goes on with 2 of 3 devices")
        assert gone not in pool.working
        assert first.lost is None
        np.testing.assert_array_equal(result(loader, subject, IMAGES[0]), before[0])


def test_pool_is_lost_with_its_last_device(tmp_path: Path) -> None:
    publish(tmp_path)
    backends = [Controlled(), Controlled()]
    with devices(*backends) as loader:
        subject = loader.load(stored(tmp_path)).default
        hold(backends)
        waiting = [submitted(loader, subject, image) for image in IMAGES]
        for backend in backends:
            backend.fault = GONE
        let_go(backends)
        for _, future in waiting:
            with pytest.raises(DeviceLost, match="cpu:0 failed: AcceleratorError; cpu:1 failed: AcceleratorError"):
                future.result()
        assert loader.pool.lost == "cpu:0 failed: AcceleratorError; cpu:1 failed: AcceleratorError"
        assert (loader.pool.warnings, loader.pool.lanes) == ([], 0)
        with pytest.raises(DeviceLost):
            submitted(loader, subject, photo())


def test_what_fails_on_a_device_that_works_is_tried_on_no_other(tmp_path: Path) -> None:
    publish(tmp_path)
    backends = [Controlled(), Controlled()]
    with devices(*backends) as loader:
        subject = loader.load(stored(tmp_path)).default
        backends[0].fault = MemoryError()
        with pytest.raises(OutOfDeviceMemory):
            result(loader, subject, photo())
        assert backends[1].batches == 0
        assert len(loader.pool.working) == 2


def test_age_is_that_of_the_oldest_operation_of_a_device_that_works() -> None:
    with devices(Controlled(), Controlled()) as loader:
        began, go_on = threading.Event(), threading.Event()

        def operation() -> None:
            began.set()
            go_on.wait()

        assert loader.pool.operation_age() == 0
        future = loader.pool.runners[1].submit_operation(operation)
        began.wait()
        age = loader.pool.operation_age()
        assert loader.pool.operation_age() > age > 0
        loader.pool.runners[1].lost = "gone"
        assert loader.pool.operation_age() == 0
        go_on.set()
        future.result()


def name(runner: Runner) -> str:
    """Of its device, where that works."""
    with runner.translated_errors(), runner.backend.lane(exclusive=False):
        return str(runner.device)


def test_next_device_takes_the_place_of_a_lost_first_one() -> None:
    backends = [Controlled(), Controlled(), Controlled()]
    with devices(*backends) as loader:
        assert loader.pool.on_first(name) == (loader.pool.runners[0], "cpu:0")
        backends[0].fault = backends[1].fault = GONE
        assert loader.pool.on_first(name) == (loader.pool.runners[2], "cpu:2")
        backends[2].fault = GONE
        with pytest.raises(DeviceLost):
            loader.pool.on_first(name)


def test_lost_devices_are_left_out_of_what_each_does() -> None:
    backends = [Controlled(), Controlled(), Controlled()]
    with devices(*backends) as loader:
        one, other, third = loader.pool.runners
        assert loader.pool.on_each(name, but=one) == {other: "cpu:1", third: "cpu:2"}
        backends[1].fault = GONE
        assert loader.pool.on_each(name) == {one: "cpu:0", third: "cpu:2"}
        backends[2].fault = ValueError("a fault")
        with pytest.raises(ValueError, match="a fault"):
            loader.pool.on_each(name)
        backends[0].fault = backends[2].fault = GONE
        with pytest.raises(DeviceLost):
            loader.pool.on_each(name)


def test_end_of_the_pool_cancels_what_has_not_begun(tmp_path: Path) -> None:
    publish(tmp_path)
    backends = [Controlled(), Controlled()]
    with devices(*backends) as loader:
        subject = loader.load(stored(tmp_path)).default
        hold(backends)
        running, waiting = ([submitted(loader, subject, photo()) for _ in range(2)] for _ in range(2))
        running, waiting = list(running), list(waiting)
        closing = threading.Thread(target=loader.pool.close)
        closing.start()
        with pytest.raises(CancelledError):
            waiting[0][1].result()
        let_go(backends)
        closing.join()
        assert [future.done() for _, future in running] == [True, True]
