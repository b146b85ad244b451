import asyncio
import gc
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model_store import (
    Network,
    TransformNetwork,
    for_inference,
)
from service.engine.cost_model import CostModel
from service.engine.cpu import CpuBackend
from service.engine.cuda import CudaBackend
from service.engine.loaded_model import LoadedNetwork
from service.engine.runner import MAX_FOREIGN_ERRORS, Runner
from service.engine.tiling import ImageTile, TiledImage, TileSizes, Tiling
from service.errors import DeviceLost, InferenceFailed, OutOfDeviceMemory
from service.imaging.codecs import Pixels
from tests.networks import NARROW_UPSCALE_4, network
from tests.service.engine.runners import NARROW_VALUES, WHOLE, load, made, stored, value
from tests.service.imaging.codecs.samples import deep_photo
from tests.service.imaging.images import photo
from tests.service.live import STYLE, painted, publish, same

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def runner() -> Iterator[Runner]:
    subject = made()
    yield subject
    subject.close()


def run(runner: Runner, network: LoadedNetwork, images: Sequence[Pixels]) -> list[Pixels]:
    """What the network makes of the images, each a tile of its own, in one batch."""
    tiled = [TiledImage(image, network.tiling) for image in images]
    runner.run(network, [ImageTile(image, image.tiles[0]) for image in tiled])
    return [image.result for image in tiled]


def submit(
    runner: Runner, network: LoadedNetwork, tiles: Sequence[ImageTile], *, exclusive: bool = False
) -> Future[None]:
    """The tiles in a lane."""
    return runner.submit_operation(lambda: runner.run(network, tiles, exclusive), exclusive=exclusive)


def loaded(subject: TransformNetwork, fp32: TransformNetwork | None = None) -> LoadedNetwork:
    return LoadedNetwork(subject, fp32 or subject, Tiling(subject, WHOLE), CostModel(0.0, 0.0))


class Limited(CpuBackend):
    """A device whose memory holds so many planes at a time, of which `kept` are taken until it frees memory."""

    def __init__(self, capacity: int, kept: int = 0) -> None:
        super().__init__(threads=1, lanes=1)
        self.capacity = capacity
        self.kept = kept
        self.sizes: list[int] = []
        self.reduced = 0

    def run_eager(self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None) -> list[Pixels | None]:
        self.sizes.append(len(planes))
        if len(planes) + self.kept > self.capacity:
            raise torch.OutOfMemoryError("out of memory")
        return super().run_eager(network, planes, statistics)

    def reduce_memory(self, fixed_batch: int) -> None:  # noqa: ARG002
        self.reduced += 1
        self.kept = 0


class Changed(TransformNetwork, ABC):
    """A network that does something else with some planes."""

    def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:
        return self.change(plane, super().transform(plane, statistics))

    @abstractmethod
    def change(self, plane: Tensor, result: Tensor) -> Tensor:
        """What becomes of the result for a plane."""


def changed(kind: type[Changed]) -> Changed:
    original = network()
    subject = kind(original.spec)
    subject.load_state_dict(original.state_dict())
    return subject.eval()


class NotFinite(Changed):
    """Its half-precision form gives no numbers for images that are black."""

    def change(self, plane: Tensor, result: Tensor) -> Tensor:
        return torch.where(plane.amax((1, 2, 3), keepdim=True) == 0, torch.nan, result)


class Overflowing(Changed):
    """Its half-precision form overflows for images that are black."""

    def change(self, plane: Tensor, result: Tensor) -> Tensor:
        return torch.where(plane.amax((1, 2, 3), keepdim=True) == 0, torch.inf, result)


def test_output_is_that_of_the_stored_network(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    (result,) = run(runner, load(runner, stored(tmp_path)).default, [photo()])
    assert result.dtype == np.uint8
    assert same(result, painted(tmp_path, photo()))


def test_upscaler_grows_the_sides(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path, "x4", network(NARROW_UPSCALE_4))
    (result,) = run(runner, load(runner, stored(tmp_path, "x4")).default, [photo(height=5, width=7)])
    assert result.shape == (20, 28, 3)
    assert result.flags.c_contiguous


@pytest.mark.parametrize("norm", ["batch", "instance", "thumbnail"])
def test_every_norm_is_served_as_the_network_defines_it(tmp_path: Path, runner: Runner, norm: str) -> None:
    publish(tmp_path, built=network(norm=norm, form="same" if norm == "instance" else "native", thumbnail=16))
    image = photo(height=40, width=52)
    (result,) = run(runner, load(runner, stored(tmp_path)).default, [image])
    assert same(result, painted(tmp_path, image))


@pytest.mark.parametrize("size", [(24, 24), (5, 60), (700, 40), (40, 700), (1, 9)])
@pytest.mark.parametrize("tile_values", [2**22, NARROW_VALUES * 3000])
def test_small_and_elongated_images_are_served_as_the_network_defines_it(
    tmp_path: Path, runner: Runner, size: tuple[int, int], tile_values: int
) -> None:
    publish(tmp_path, built=network(STYLE, norm="thumbnail"))
    model = load(runner, stored(tmp_path))
    fp32 = replace(model.fp32, tiling=Tiling(model.fp32.network, TileSizes(tile_values)))
    image, deep = photo(3, *size), deep_photo(3, *size)
    (result,), (deep_result,) = run_tiled(runner, fp32, [image]), run_tiled(runner, fp32, [deep])
    assert same(result, painted(tmp_path, image))
    with torch.inference_mode():
        batch = torch.from_numpy(deep.astype(np.float32)).permute(2, 0, 1)[None] / 65_535
        expected = model.fp32.network(batch)[0].permute(1, 2, 0).numpy() * 65_535
    assert np.abs(deep_result - expected).max() < 20


def test_batch_keeps_its_order(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    network = load(runner, stored(tmp_path)).default
    images = [photo(seed) for seed in range(5)]
    for image, result in zip(images, run(runner, network, images), strict=True):
        assert np.array_equal(result, run(runner, network, [image])[0])


def test_images_are_not_changed(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    image = photo()
    run(runner, load(runner, stored(tmp_path)).default, [image])
    assert np.array_equal(image, photo())


def test_out_of_memory_halves_the_batch() -> None:
    device = Limited(capacity=2)
    runner, sound = made(backend=device), loaded(network())
    images = [photo(seed) for seed in range(5)]
    results = run(runner, sound, images)
    assert device.sizes == [5, 2, 3, 1, 2]
    assert device.reduced == value(runner, "out_of_memory_total", device=str(runner.device)) == 2
    for image, result in zip(images, results, strict=True):
        assert np.array_equal(result, run(runner, sound, [image])[0])
    runner.close()


def test_batch_that_is_to_run_whole_is_not_halved() -> None:
    device = Limited(capacity=2)
    runner, sound = made(backend=device), loaded(network())
    tiled = [TiledImage(photo(seed), sound.tiling) for seed in range(3)]
    tiles = [ImageTile(image, image.tiles[0]) for image in tiled]
    with pytest.raises(OutOfDeviceMemory, match="3 planes at once"):
        runner.run_whole(sound, tiles)
    assert (device.sizes, device.reduced) == ([3], 1)
    runner.run_whole(sound, tiles[:2])
    assert device.sizes == [3, 2]
    runner.close()


def test_single_image_runs_once_more_when_nothing_is_kept_in_the_memory() -> None:
    device = Limited(capacity=1, kept=1)
    runner, sound = made(backend=device), loaded(network())
    (result,) = run(runner, sound, [photo()])
    assert device.sizes == [1, 1]
    assert device.reduced == value(runner, "out_of_memory_total", device=str(runner.device)) == 1
    assert np.array_equal(result, run(runner, sound, [photo()])[0])
    runner.close()


def test_image_that_does_not_fit_alone_is_refused() -> None:
    device = Limited(capacity=0)
    runner = made(backend=device)
    with pytest.raises(OutOfDeviceMemory, match="32×24"):
        run(runner, loaded(network()), [photo()])
    assert device.sizes == [1, 1]
    runner.close()


def test_device_that_fails_at_the_second_attempt_is_lost() -> None:
    class Failing(Limited):
        def run_eager(
            self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None
        ) -> list[Pixels | None]:
            if self.reduced:
                raise torch.AcceleratorError(f"gone with {len(planes)} planes")
            return super().run_eager(network, planes, statistics)

    runner = made(backend=Failing(capacity=0))
    with pytest.raises(DeviceLost, match="AcceleratorError"):
        run(runner, loaded(network()), [photo()])
    assert runner.lost is not None
    runner.close()


def test_out_of_memory_of_the_processor_is_the_same(runner: Runner) -> None:
    class Greedy(Changed):
        def change(self, plane: Tensor, result: Tensor) -> Tensor:  # noqa: ARG002
            return torch.empty(2**50)  # more than any address space holds

    with pytest.raises(OutOfDeviceMemory, match="32×24"):
        run(runner, loaded(changed(Greedy)), [photo()])
    assert value(runner, "out_of_memory_total", device=str(runner.device)) == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    ],
)
def test_lack_of_memory_beside_the_allocator_is_the_same(runner: Runner, error: RuntimeError) -> None:
    class Greedy(Changed):
        def change(self, plane: Tensor, result: Tensor) -> Tensor:  # noqa: ARG002
            raise error

    with pytest.raises(OutOfDeviceMemory, match="32×24"):
        run(runner, loaded(changed(Greedy)), [photo()])
    assert runner.lost is None
    assert value(runner, "out_of_memory_total", device=str(runner.device)) == 2


def test_other_failures_are_not_taken_for_a_lack_of_memory(runner: Runner) -> None:
    class Failing(Changed):
        def change(self, plane: Tensor, result: Tensor) -> Tensor:  # noqa: ARG002
            raise RuntimeError(f"no kernel for {tuple(plane.shape)}")

    with pytest.raises(RuntimeError, match="no kernel"):
        run(runner, loaded(changed(Failing)), [photo()])
    assert value(runner, "out_of_memory_total", device=str(runner.device)) == 0


@pytest.mark.parametrize("kind", [NotFinite, Overflowing])
def test_picture_that_is_not_finite_is_computed_again_in_fp32(kind: type[Changed]) -> None:
    runner, sound = made(torch.bfloat16), network()
    images = [photo(1), np.zeros((24, 32, 3), np.uint8), photo(2)]
    results = run(runner, loaded(changed(kind), sound), images)
    for image, result in zip(images, results, strict=True):
        assert same(result, run(runner, loaded(sound), [image])[0])
    assert value(runner, "nonfinite_outputs_total", result="recovered") == 1
    runner.close()


def test_picture_that_is_not_finite_in_fp32_either_fails(runner: Runner) -> None:
    with pytest.raises(InferenceFailed, match="not finite"):
        run(runner, loaded(changed(NotFinite)), [photo(), np.zeros((24, 32, 3), np.uint8)])
    assert value(runner, "nonfinite_outputs_total", result="failed") == 1


def test_overflow_that_the_output_map_would_hide_is_computed_again_in_fp32() -> None:
    """tanh makes white of infinity: the picture would be finite, and wrong."""
    runner, sound, broken = made(torch.bfloat16), network(), network()
    last = [module for module in broken.layers.modules() if isinstance(module, nn.Conv2d)][-1]
    assert last.bias is not None
    last.bias.data[1] = torch.inf
    (result,) = run(runner, loaded(for_inference(broken, torch.bfloat16), sound), [photo()])
    assert same(result, run(runner, loaded(sound), [photo()])[0])
    assert value(runner, "nonfinite_outputs_total", result="recovered") == 1
    runner.close()


def test_failed_device_is_lost_for_good(runner: Runner) -> None:
    class Failing(Changed):
        def change(self, plane: Tensor, result: Tensor) -> Tensor:  # noqa: ARG002
            raise torch.AcceleratorError(f"device-side assert triggered by {tuple(plane.shape)}")

    assert runner.lost is None
    with pytest.raises(DeviceLost):
        run(runner, loaded(changed(Failing)), [photo()])
    with pytest.raises(DeviceLost, match="AcceleratorError"):
        run(runner, loaded(network()), [photo()])
    assert runner.lost is not None


class Disturbed(CpuBackend):
    """A device that works, whose calls raise the errors of another one, as often as it is told."""

    def __init__(self, errors: int) -> None:
        super().__init__(threads=1, lanes=1)
        self.errors = errors

    def still_works(self) -> bool:
        return True

    def run_eager(self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None) -> list[Pixels | None]:
        if self.errors:
            self.errors -= 1
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return super().run_eager(network, planes, statistics)


def test_errors_of_another_device_are_survived() -> None:
    backend = Disturbed(MAX_FOREIGN_ERRORS)
    runner, sound = made(backend=backend), loaded(network())
    (first,) = run(runner, sound, [photo()])
    backend.errors = MAX_FOREIGN_ERRORS
    (second,) = run(runner, sound, [photo()])
    assert np.array_equal(first, second)
    assert (runner.lost, backend.errors) == (None, 0)
    runner.close()


def test_errors_that_do_not_end_are_the_devices_own() -> None:
    runner = made(backend=Disturbed(10**6))
    with pytest.raises(DeviceLost, match="cpu failed: AcceleratorError"):
        run(runner, loaded(network()), [photo()])
    assert runner.lost is not None
    runner.close()


def test_operation_that_ends_with_stop_iteration_fails(runner: Runner) -> None:
    """Asyncio would pass it on to nobody, who would wait for ever."""

    def stop() -> None:
        raise StopIteration

    async def wait() -> None:
        async with asyncio.timeout(30):
            await asyncio.wrap_future(runner.submit_operation(stop))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(wait())
    assert runner.operation_age() == 0
    assert runner.lost is None


class Threads(Changed):
    """Remembers how many threads its batches had."""

    seen: ClassVar[list[int]] = []

    def change(self, plane: Tensor, result: Tensor) -> Tensor:  # noqa: ARG002
        self.seen.append(torch.get_num_threads())
        return result


def test_exclusive_batch_has_all_threads_and_a_lane_its_share() -> None:
    before = torch.get_num_threads()
    runner = made(backend=CpuBackend(threads=5, lanes=2), lanes=2)
    subject = changed(Threads)
    Threads.seen.clear()
    image = TiledImage(photo(), loaded(subject).tiling)
    for exclusive in (True, False):
        submit(runner, loaded(subject), [ImageTile(image, image.tiles[0])], exclusive=exclusive).result()
    assert Threads.seen == [5, 3]
    runner.close()
    torch.set_num_threads(before)


class Held(Changed):
    """Takes as long as it is let."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.began, self.go_on = threading.Semaphore(0), threading.Event()

    def change(self, plane: Tensor, result: Tensor) -> Tensor:  # noqa: ARG002
        self.began.release()
        self.go_on.wait()
        return result


def test_lanes_run_side_by_side_and_their_age_is_seen_from_outside() -> None:
    runner = made(lanes=2)
    subject = changed(Held)
    assert isinstance(subject, Held)
    image = TiledImage(photo(), loaded(subject).tiling)
    assert runner.operation_age() == 0
    futures = [submit(runner, loaded(subject), [ImageTile(image, image.tiles[0])]) for _ in range(2)]
    for _ in futures:
        subject.began.acquire()
    first = runner.operation_age()
    assert runner.operation_age() > first > 0
    subject.go_on.set()
    for future in futures:
        future.result()
    assert runner.operation_age() == 0
    assert (value(runner, "device_busy_seconds_total", device="cpu") or 0) > 0
    assert (value(runner, "device_heartbeat_timestamp_seconds", device="cpu") or 0) > 1e9
    runner.close()


def test_batch_that_fails_does_not_end_its_lane(runner: Runner) -> None:
    sound = loaded(network())
    image = TiledImage(photo(), sound.tiling)
    image_tile = ImageTile(image, image.tiles[0])
    with pytest.raises(AttributeError):
        submit(runner, None, [image_tile]).result()  # type: ignore[arg-type]
    submit(runner, sound, [image_tile]).result()
    assert image.result.shape == (24, 32, 3)
    assert runner.operation_age() == 0


def on_gpu(precision: torch.dtype, batch_pixels: int = 2**20, backend: CudaBackend | None = None) -> Runner:
    device, sizes = torch.device("cuda"), TileSizes(10**8, (64, 128), batch_pixels * NARROW_VALUES)
    return made(precision, backend or CudaBackend(device), 2, device, sizes)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
def test_gpu_gives_the_picture_of_the_cpu(tmp_path: Path, precision: torch.dtype) -> None:
    publish(tmp_path)
    runner = on_gpu(precision)
    network = load(runner, stored(tmp_path)).default
    assert next(network.network.parameters()).device.type == "cuda"
    images = [photo(seed, 64, 96) for seed in range(4)]
    for image, result in zip(images, run_tiled(runner, network, images), strict=True):
        error = np.square(result.astype(float) - painted(tmp_path, image)).mean()
        assert error <= (0.3 if precision == torch.float32 else 4.0)
    runner.close()


@pytest.mark.gpu
@GPU
def test_gpu_bytes_do_not_depend_on_batch_mates_and_styles_share_a_graph(tmp_path: Path) -> None:
    backend = CudaBackend(torch.device("cuda"))
    runner = on_gpu(torch.float16, backend=backend)
    for name, seed in (("wave", 0), ("night", 1)):
        publish(tmp_path, name, network(seed=seed))
    styles = [load(runner, stored(tmp_path, name)).default for name in ("wave", "night")]
    images = [photo(seed, 64, 64) for seed in range(6)]
    alone = [[run_tiled(runner, style, [image])[0] for image in images] for style in styles]
    for style, expected in zip(styles, alone, strict=True):
        together = run_tiled(runner, style, images)
        assert all(np.array_equal(one, other) for one, other in zip(together, expected, strict=True))
    assert not np.array_equal(alone[0][0], alone[1][0])
    assert len({(key.shape, key.sample) for key in backend.graph_keys}) == len(backend.graph_keys)
    runner.close()


def run_tiled(runner: Runner, network: LoadedNetwork, images: Sequence[Pixels]) -> list[Pixels]:
    """All tiles of all images, in batches of one shape."""
    tiled = [TiledImage(image, network.tiling) for image in images]
    tiles = [ImageTile(image, tile) for image in tiled for tile in image.tiles]
    for shape in {(each.tile.plane_height, each.tile.plane_width) for each in tiles}:
        equal = [each for each in tiles if (each.tile.plane_height, each.tile.plane_width) == shape]
        submit(runner, network, equal).result()
    return [image.result for image in tiled]


@pytest.mark.gpu
@GPU
def test_gpu_memory_that_does_not_suffice_is_survived(tmp_path: Path) -> None:
    publish(tmp_path)
    runner = on_gpu(torch.float32, batch_pixels=2**26)
    gc.collect()
    torch.cuda.empty_cache()  # else what earlier tests have left is there to be freed
    share = torch.cuda.memory_reserved() + 600 * 2**20  # the planes of a batch take three times as much
    torch.cuda.set_per_process_memory_fraction(share / torch.cuda.get_device_properties(0).total_memory)
    try:
        network = load(runner, stored(tmp_path)).default
        images = [photo(seed, 512, 512) for seed in range(16)]
        assert len(run_tiled(runner, network, images)) == 16
        assert (value(runner, "out_of_memory_total", device=str(runner.device)) or 0) > 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        runner.close()


@pytest.mark.parametrize(
    ("precision", "norm"), [(torch.float32, "batch"), (torch.float32, "thumbnail"), (torch.bfloat16, "batch")]
)
def test_sixteen_bits_run_in_fp32_whatever_the_precision(tmp_path: Path, precision: torch.dtype, norm: str) -> None:
    publish(tmp_path, built=network(norm=norm, thumbnail=16))
    runner = made(precision)
    model = load(runner, stored(tmp_path))
    (result,) = run(runner, model.fp32, [deep_photo()])
    batch = torch.from_numpy(deep_photo().astype(np.float32)).permute(2, 0, 1)[None] / 65_535
    with torch.inference_mode():
        expected = stored(tmp_path).network(batch)[0].permute(1, 2, 0).numpy() * 65_535
    assert np.abs(result - expected).max() <= 8
    assert model.fp32.network is model.fp32.fp32 is model.default.fp32
    assert model.fp32.cost_model.seconds(10**6) > 0
    assert (model.fp32 is model.default) == (precision == torch.float32)
    runner.close()


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_gpu_keeps_sixteen_bits(tmp_path: Path, precision: torch.dtype) -> None:
    publish(tmp_path)
    runner = on_gpu(precision)
    model = load(runner, stored(tmp_path))
    image = deep_photo(0, 64, 96)
    (result,) = run_tiled(runner, model.fp32, [image])
    batch = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 65_535
    with torch.inference_mode():
        expected = stored(tmp_path).network(batch)[0].permute(1, 2, 0).numpy() * 65_535
    assert result.dtype == np.uint16
    assert np.abs(result - expected).max() <= 64
    (shallow,) = run_tiled(runner, model.default, [photo(0, 64, 96)])
    error = np.square(shallow.astype(float) - painted(tmp_path, photo(0, 64, 96))).mean()
    assert error <= (0.3 if precision == torch.float32 else 4.0)
    runner.close()
