import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model_store import Golden, GoldenMismatch, ModelStore, StoredModel, TransformNetwork, has_fast_bf16
from service.errors import DeviceLost, InferenceFailed, OutOfDeviceMemory
from service.metrics import Metrics
from service.runner import LoadedNetwork, Runner, choose_device, choose_precision
from tests.networks import NARROW_UPSCALE_4, network
from tests.service.live import painted, photo, publish, same

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def runner() -> Iterator[Runner]:
    made = Runner(CPU, torch.float32, 1, Metrics())
    yield made
    made.close()


def value(runner: Runner, name: str, **labels: str) -> float | None:
    return runner._metrics.registry.get_sample_value(f"pastiche_{name}", labels)


def stored(root: Path, name: str = "wave") -> StoredModel:
    return ModelStore(root).load(name)


class Limited(TransformNetwork):
    """A network on a device whose memory holds so many images at a time."""

    capacity = 0
    sizes: list[int]

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(len(image))
        if len(image) > self.capacity:
            raise torch.OutOfMemoryError("out of memory")
        result: Tensor = super().forward(image)
        return result


def limited(capacity: int) -> Limited:
    original = network()
    made = Limited(original.spec)
    made.load_state_dict(original.state_dict())
    made.capacity, made.sizes = capacity, []
    return made.eval()


class Overflowing(TransformNetwork):
    """A network whose half-precision form gives no numbers for images that are black."""

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = super().forward(image)
        black = image.amax((1, 2, 3), keepdim=True) == 0
        return torch.where(black, torch.nan, result)


def overflowing() -> Overflowing:
    original = network()
    made = Overflowing(original.spec)
    made.load_state_dict(original.state_dict())
    return made.eval()


def test_output_is_that_of_the_stored_network(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    loaded = runner.load(stored(tmp_path))
    (result,) = runner.run(loaded, [photo()])
    assert result.dtype == np.uint8
    assert same(result, painted(tmp_path, photo()))


def test_upscaler_grows_the_sides(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path, "x4", network(NARROW_UPSCALE_4))
    (result,) = runner.run(runner.load(stored(tmp_path, "x4")), [photo(height=5, width=7)])
    assert result.shape == (20, 28, 3)
    assert result.flags.c_contiguous


def test_batch_keeps_its_order(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    loaded = runner.load(stored(tmp_path))
    images = [photo(seed) for seed in range(5)]
    for image, result in zip(images, runner.run(loaded, images), strict=True):
        (alone,) = runner.run(loaded, [image])
        assert same(result, alone)


def test_images_are_not_changed(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    image = photo()
    runner.run(runner.load(stored(tmp_path)), [image])
    assert np.array_equal(image, photo())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_network_is_proven_in_the_precision_it_runs_in(tmp_path: Path, precision: torch.dtype) -> None:
    publish(tmp_path)
    runner = Runner(CPU, precision, 1, Metrics())
    loaded = runner.load(stored(tmp_path))
    assert next(loaded.fast.layers.parameters()).dtype == precision
    runner.close()


def test_network_that_gives_another_output_here_is_refused(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    model = stored(tmp_path)
    wrong = Golden(model.golden.input, 1 - model.golden.output)
    with pytest.raises(GoldenMismatch, match="wave@1: the largest difference"):
        runner.load(StoredModel(model.manifest, model.network, wrong))


def test_out_of_memory_halves_the_batch(runner: Runner) -> None:
    small = limited(capacity=2)
    images = [photo(seed) for seed in range(5)]
    results = runner.run(LoadedNetwork(small, small), images)
    assert small.sizes == [5, 2, 3, 1, 2]
    assert len(results) == 5
    for image, result in zip(images, results, strict=True):
        (alone,) = runner.run(LoadedNetwork(small, small), [image])
        assert same(result, alone)
    assert value(runner, "out_of_memory_total") == 2


def test_image_that_does_not_fit_alone_is_refused(runner: Runner) -> None:
    small = limited(capacity=0)
    with pytest.raises(OutOfDeviceMemory, match="32×24"):
        runner.run(LoadedNetwork(small, small), [photo()])


def test_out_of_memory_of_the_processor_is_the_same(runner: Runner) -> None:
    class Greedy(Limited):
        def forward(self, image: Tensor) -> Tensor:
            if len(image) > self.capacity:
                torch.empty(2**50)  # more than any address space holds
            return super().forward(image)

    original = network()
    greedy = Greedy(original.spec)
    greedy.load_state_dict(original.state_dict())
    greedy.eval().sizes = []
    greedy.capacity = 1
    assert len(runner.run(LoadedNetwork(greedy, greedy), [photo(0), photo(1)])) == 2
    assert value(runner, "out_of_memory_total") == 1
    greedy.capacity = 0
    with pytest.raises(OutOfDeviceMemory, match="32×24"):
        runner.run(LoadedNetwork(greedy, greedy), [photo()])


def test_other_failures_are_not_taken_for_a_lack_of_memory(runner: Runner) -> None:
    class Failing(TransformNetwork):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError(f"no kernel for {tuple(image.shape)}")

    failing = Failing(network().spec).eval()
    with pytest.raises(RuntimeError, match="no kernel"):
        runner.run(LoadedNetwork(failing, failing), [photo()])
    assert value(runner, "out_of_memory_total") == 0


def test_fp32_is_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    Runner(CPU, torch.bfloat16, 1, Metrics()).close()
    assert not torch.backends.cudnn.allow_tf32


def test_picture_that_is_not_finite_is_computed_again_in_fp32() -> None:
    runner = Runner(CPU, torch.bfloat16, 1, Metrics())
    sound = network()
    broken = LoadedNetwork(overflowing(), sound)
    images = [photo(1), np.zeros((24, 32, 3), np.uint8), photo(2)]
    results = runner.run(broken, images)
    exact = Runner(CPU, torch.float32, 1, Metrics())
    for image, result in zip(images, results, strict=True):
        (expected,) = exact.run(LoadedNetwork(sound, sound), [image])
        assert same(result, expected)
    assert value(runner, "nonfinite_outputs_total", result="recovered") == 1


def test_picture_that_is_not_finite_in_fp32_either_fails(runner: Runner) -> None:
    broken = overflowing()
    with pytest.raises(InferenceFailed, match="not finite"):
        runner.run(LoadedNetwork(broken, broken), [photo(), np.zeros((24, 32, 3), np.uint8)])
    assert value(runner, "nonfinite_outputs_total", result="failed") == 1


def test_failed_device_is_lost_for_good(runner: Runner) -> None:
    class Failing(TransformNetwork):
        def forward(self, image: Tensor) -> Tensor:
            raise torch.AcceleratorError(f"device-side assert triggered by {tuple(image.shape)}")

    failing, sound = Failing(network().spec).eval(), network()
    assert runner.lost is None
    with pytest.raises(DeviceLost):
        runner.run(LoadedNetwork(failing, failing), [photo()])
    with pytest.raises(DeviceLost, match="AcceleratorError"):
        runner.run(LoadedNetwork(sound, sound), [photo()])
    assert runner.lost is not None


def test_operations_run_in_one_thread_in_order(runner: Runner) -> None:
    names: list[str] = []
    futures = [runner.submit(lambda: names.append(threading.current_thread().name)) for _ in range(5)]
    for future in futures:
        future.result()
    assert len(set(names)) == 1
    assert names[0].startswith("device")
    assert names[0] != threading.current_thread().name


def test_device_thread_uses_the_threads_of_the_settings() -> None:
    before = torch.get_num_threads()
    runner = Runner(CPU, torch.float32, 2, Metrics())
    assert runner.submit(torch.get_num_threads).result() == 2
    runner.close()
    torch.set_num_threads(before)


def test_age_of_the_running_operation_is_seen_from_outside(runner: Runner) -> None:
    began, go_on = threading.Event(), threading.Event()

    def operation() -> None:
        began.set()
        go_on.wait()

    assert runner.operation_age() == 0
    future = runner.submit(operation)
    began.wait()
    first = runner.operation_age()
    assert runner.operation_age() > first > 0
    go_on.set()
    future.result()
    assert runner.operation_age() == 0
    assert (value(runner, "device_busy_seconds_total") or 0) > 0
    assert (value(runner, "device_heartbeat_timestamp_seconds") or 0) > 1e9


def test_operation_that_fails_does_not_end_the_thread(runner: Runner) -> None:
    with pytest.raises(ZeroDivisionError):
        runner.submit(lambda: 1 / 0).result()
    assert runner.submit(lambda: 42).result() == 42
    assert runner.operation_age() == 0


def test_choice_of_the_device() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="cuda:99 does not exist"):
        choose_device("cuda:99")


def test_choice_of_the_precision() -> None:
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16
    assert choose_precision("auto", torch.device("cuda")) == torch.float16
    assert choose_precision("auto", CPU) == (torch.bfloat16 if has_fast_bf16(CPU) else torch.float32)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
def test_gpu_gives_the_picture_of_the_cpu(tmp_path: Path, precision: torch.dtype) -> None:
    publish(tmp_path)
    runner = Runner(torch.device("cuda"), precision, 1, Metrics())
    images = [photo(seed, 64, 96) for seed in range(4)]
    loaded = runner.submit(runner.load, stored(tmp_path)).result()
    assert next(loaded.fast.layers.parameters()).device.type == "cuda"
    for image, result in zip(images, runner.submit(runner.run, loaded, images).result(), strict=True):
        error = np.square(result.astype(float) - painted(tmp_path, image)).mean()
        assert error <= (0.3 if precision == torch.float32 else 4.0)
    runner.close()


@pytest.mark.gpu
@GPU
def test_gpu_memory_that_does_not_suffice_is_survived(tmp_path: Path) -> None:
    publish(tmp_path)
    runner = Runner(torch.device("cuda"), torch.float32, 1, Metrics())
    loaded = runner.load(stored(tmp_path))
    share = torch.cuda.memory_reserved() + 200 * 2**20
    torch.cuda.set_per_process_memory_fraction(share / torch.cuda.get_device_properties(0).total_memory)
    try:
        images = [photo(seed, 512, 512) for seed in range(16)]
        assert len(runner.run(loaded, images)) == 16
        assert (value(runner, "out_of_memory_total") or 0) > 0
        with pytest.raises(OutOfDeviceMemory):
            runner.run(loaded, [np.zeros((8192, 8192, 3), np.uint8)])
        assert len(runner.run(loaded, images[:1])) == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        runner.close()
