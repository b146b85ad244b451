import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from service.engine.device_assembly import assemble_device
from service.engine.loaded_model import LoadedNetwork
from service.engine.pool_loader import PoolLoader
from service.engine.runner import Runner
from service.engine.tiling import ImageTile, TiledImage
from service.errors import DeviceLost, OutOfDeviceMemory
from service.imaging.pixels import Pixels
from service.telemetry.metrics import Metrics
from tests.networks import network
from tests.service.engine.gpus import two_gpus
from tests.service.engine.runners import GONE, Controlled, made_pool, stored, value
from tests.service.imaging.images import photo
from tests.service.live import PATIENCE, STYLE, painted, publish, same, settings

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
        waiting[1][1].result(PATIENCE)
        waiting += [submitted(loader, subject, photo()) for _ in range(3)]
        let_go(backends)
        for image, future in waiting:
            future.result()
            assert same(image.result, painted(tmp_path, photo()))
        assert sum(backend.batches for backend in backends) == 6
        assert backends[1].batches >= 2


def test_idle_devices_take_turns(tmp_path: Path) -> None:
    publish(tmp_path)
    backends = [Controlled() for _ in range(3)]
    with devices(*backends) as loader:
        subject = loader.load(stored(tmp_path)).default
        hold(backends)
        let_go(backends)
        for _ in range(6):
            result(loader, subject, photo())
        assert [backend.batches for backend in backends] == [2, 2, 2]


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


@two_gpus
def test_two_gpus_give_the_same_bytes_side_by_side(tmp_path: Path) -> None:
    publish(tmp_path)
    device = assemble_device(settings(tmp_path, device="cuda:0,cuda:1", precision="fp16"), Metrics())
    subject = device.loader.load(stored(tmp_path)).default
    one, other = device.pool.runners
    expected = [on(one, subject, image) for image in IMAGES]
    for image, plane in zip(IMAGES, expected, strict=True):
        np.testing.assert_array_equal(on(other, subject, image), plane)
    waiting = [submitted(device.loader, subject, image) for image in IMAGES * 20]
    for (tiled, future), plane in zip(waiting, expected * 20, strict=True):
        future.result()
        np.testing.assert_array_equal(tiled.result, plane)
    device.pool.close()


@two_gpus
def test_gpu_goes_on_without_one_that_failed(tmp_path: Path) -> None:
    """In a process of its own: the failed one cannot be used by later tests."""
    publish(tmp_path)
    code = "from tests.service.engine.test_runner_pool import break_first_gpu; import sys; break_first_gpu(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def on(runner: Runner, subject: LoadedNetwork, image: Pixels) -> Pixels:
    tiled = TiledImage(image, subject.tiling)
    for tile in tiled.tiles:
        runner.run(subject.on(runner.device), [ImageTile(tiled, tile)])
    return tiled.result


def break_first_gpu(root: str) -> None:
    device = assemble_device(settings(Path(root), device="cuda:0,cuda:1", precision="fp16"), Metrics())
    subject = device.loader.load(stored(Path(root))).default
    expected = result(device.loader, subject, photo())

    def read_beyond_the_end() -> None:
        with torch.cuda.device(0):
            torch.zeros(4, device="cuda:0")[torch.full((1,), 10**9, device="cuda:0")].cpu()

    with pytest.raises(torch.AcceleratorError):
        device.pool.runners[0].submit_operation(read_beyond_the_end).result()
    for _ in range(50):
        np.testing.assert_array_equal(result(device.loader, subject, photo()), expected)
    assert [runner.lost is None for runner in device.pool.runners] == [False, True]
    os._exit(0)  # at the end of the process, what the failed one had could not be freed
