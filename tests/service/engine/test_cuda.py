"""What only a GPU can show: graphs, weights as data, batches of a fixed size, streams; and which graphs are kept."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from model_store import TransformNetwork, for_inference, thumbnail
from service.engine.cpu import CpuBackend
from service.engine.cuda import CudaBackend
from service.engine.shared_by_gpus import SharedByGpus
from service.engine.statistics_graphs import COMINGS
from service.engine.tiling import TiledImage, TileSizes, Tiling
from service.imaging.codecs import Pixels
from tests.model_store.test_graph_capture import capture_after_a_failure
from tests.networks import NARROW_UPSCALE_4, network
from tests.service.imaging.images import photo
from tests.service.live import same

Test = TypeVar("Test", bound=Callable[..., None])

SIDES = TileSizes(10**8, (64, 128))
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]
FIXED_BATCH = 6
"""Planes of a batch."""


def gpu(test: Test) -> Test:
    """A test that needs a GPU."""
    needed: Callable[[Test], Test] = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    marked: Test = pytest.mark.gpu(needed(test))
    return marked


@pytest.fixture(autouse=True)
def inference(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # as configure_torch has it
    with torch.inference_mode():
        yield


def placed(subject: TransformNetwork, precision: torch.dtype = torch.float16) -> TransformNetwork:
    return for_inference(subject, precision).to("cuda")


def planes(subject: TransformNetwork, count: int, first: int = 0) -> list[Pixels]:
    """Of so many images of one tile each."""
    tiling = Tiling(subject, SIDES)
    canvases = [
        TiledImage(photo(first + seed, 64 // subject.scale, 60 // subject.scale), tiling) for seed in range(count)
    ]
    return [canvas.cut(canvas.tiles[0]) for canvas in canvases]


def statistics(subject: TransformNetwork, count: int) -> Tensor:
    device = next(subject.parameters()).device
    images = [thumbnail(photo(seed, 64, 60), subject.spec.thumbnail).to(device) for seed in range(count)]
    return torch.cat([subject.statistics(image) for image in images])


def run(
    backend: CudaBackend, subject: TransformNetwork, *arguments: list[Pixels], own: Tensor | None = None
) -> list[Pixels]:
    """As a lane does it; every picture is finite."""
    with torch.inference_mode(), backend.lane(exclusive=False):
        results = [result for images in arguments for result in backend.run(subject, images, own, FIXED_BATCH)]
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


def on_cpu(subject: TransformNetwork, images: list[Pixels], own: Tensor | None = None) -> list[Pixels]:
    return [result for result in CpuBackend(1, 1).run(for_inference(subject), images, own) if result is not None]


def mean_square(one: Pixels, other: Pixels) -> float:
    return float(np.square(one.astype(float) - other).mean())


def equal(ones: list[Pixels], others: list[Pixels]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


@pytest.fixture
def backend() -> CudaBackend:
    return CudaBackend(torch.device("cuda"))


@gpu
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", [network().spec.architecture, NARROW_UPSCALE_4])
def test_pictures_are_those_of_the_processor(backend: CudaBackend, architecture: str, precision: torch.dtype) -> None:
    subject = network(architecture, skip=True)
    images = planes(subject, 9)
    results = run(backend, placed(subject, precision), images)
    for result, expected in zip(results, on_cpu(subject, images), strict=True):
        assert mean_square(result, expected) <= (0.3 if precision == torch.float32 else 4.0)


@gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_do_not_depend_on_batch_mates_size_or_place(backend: CudaBackend, precision: torch.dtype) -> None:
    subject = placed(network(), precision)
    images = planes(subject, 15)
    together = run(backend, subject, images)
    assert equal([run(backend, subject, [image])[0] for image in images], together)
    assert equal(run(backend, subject, images[::-1])[::-1], together)
    assert equal(run(backend, subject, images[:4], images[4:5], images[5:]), together)
    assert len({image.tobytes() for image in together}) == 15


@gpu
def test_styles_of_one_architecture_share_a_graph_and_keep_their_weights(backend: CudaBackend) -> None:
    styles = [placed(network(seed=seed)) for seed in range(3)]
    images = planes(styles[0], 4)
    alone = [run(CudaBackend(torch.device("cuda")), style, images) for style in styles]
    for turn in (0, 1, 2, 1, 0, 0, 2):
        assert equal(run(backend, styles[turn], images), alone[turn])
    assert len(backend.graph_keys) == 1
    assert not np.array_equal(alone[0][0], alone[1][0])


@gpu
def test_graphs_of_other_architectures_shapes_and_precisions_do_not_mix(backend: CudaBackend) -> None:
    subjects = [placed(network()), placed(network(), torch.float32), placed(network(NARROW_UPSCALE_4))]
    images = [planes(subject, 3) for subject in subjects]
    first = [run(backend, subject, own) for subject, own in zip(subjects, images, strict=True)]
    for subject, own, expected in zip(subjects, images, first, strict=True):
        assert equal(run(backend, subject, own), expected)
    assert len(backend.graph_keys) == 3


@gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_statistics_of_a_graph_are_those_of_launches(backend: CudaBackend, precision: torch.dtype) -> None:
    styles = [placed(network(norm="thumbnail", thumbnail=32, seed=seed), precision) for seed in (1, 2)]
    thumbnails = [thumbnail(photo(seed, 64, 60), 32) for seed in range(3)]
    with backend.lane(exclusive=False):
        for _ in range(COMINGS):  # the first ones come before there is a graph
            for style in styles:
                for small in thumbnails:
                    assert torch.equal(backend.statistics(style, small), style.statistics(small.cuda()))
        assert len(backend.statistics_shapes) == 1
        backend.reduce_memory(1)
        assert not backend.statistics_shapes
        assert torch.equal(backend.statistics(styles[0], thumbnails[0]), styles[0].statistics(thumbnails[0].cuda()))


@gpu
def test_statistics_of_a_picture_of_one_colour_are_those_of_launches(backend: CudaBackend) -> None:
    style, flat = placed(network(norm="thumbnail", thumbnail=32)), torch.full((1, 3, 32, 30), 0.25)
    with backend.lane(exclusive=False):
        results = [backend.statistics(style, flat) for _ in range(COMINGS + 1)]
        assert all(torch.equal(result, style.statistics(flat.cuda())) for result in results)


@gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_image_has_its_own_statistics(backend: CudaBackend, precision: torch.dtype) -> None:
    subject = network(norm="thumbnail", thumbnail=32)
    images, expected = planes(subject, 8), on_cpu(subject, planes(subject, 8), statistics(subject, 8))
    fast = placed(subject, precision)
    with backend.lane(exclusive=False):
        own = statistics(fast, 8)
    results = run(backend, fast, images, own=own)
    for i, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        assert mean_square(result, wanted) <= (0.3 if precision == torch.float32 else 6.0)
        assert np.array_equal(run(backend, fast, images[i : i + 1], own=own[i : i + 1])[0], result)
    with backend.lane(exclusive=False):
        others = own.flip(0)
    assert not np.array_equal(run(backend, fast, images, own=others)[0], results[0])


@gpu
def test_picture_that_is_not_finite_is_told_apart(backend: CudaBackend) -> None:
    class Broken(TransformNetwork):
        def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:
            black = plane.amax((1, 2, 3), keepdim=True) == 0
            return torch.where(black, torch.inf, super().transform(plane, statistics))

    broken = Broken(network().spec).eval()
    broken.load_state_dict(network().state_dict())
    images = planes(broken, 3)
    images[1] = np.zeros_like(images[1])
    with backend.lane(exclusive=False):
        results = backend.run(placed(broken), images, None, FIXED_BATCH)
    assert [result is None for result in results] == [False, True, False]


class Waiting(TransformNetwork):
    """Waits for the device, which no capture allows."""

    def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:
        assert plane.sum().item() >= 0
        return super().transform(plane, statistics)


@gpu
def test_networks_that_cannot_be_captured_are_launched() -> None:
    """In a process of its own, as a capture that has failed may leave more behind than is known."""
    code = "from tests.service.engine.test_cuda import launch_what_cannot_be_captured as check; check()"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "CUDA graphs are not used, and batches are slower" in done.stderr


def launch_what_cannot_be_captured() -> None:
    capture_after_a_failure()
    backend, images = CudaBackend(torch.device("cuda")), planes(network(), 8)
    subjects = [placed(network()), placed(network(seed=1))]
    expected = [run(CudaBackend(torch.device("cuda")), subject, images) for subject in subjects]
    waiting = Waiting(network().spec).eval()
    waiting.load_state_dict(network().state_dict())
    for _ in range(2):
        assert equal(run(backend, placed(waiting), images), expected[0])
        for subject, wanted in zip(subjects, expected, strict=True):
            assert equal(run(backend, subject, images), wanted)
            assert equal(run(backend, subject, images[:1]), wanted[:1])
        with torch.inference_mode(), backend.lane(exclusive=False):
            backend.reduce_memory(1)  # nothing is left behind that would keep memory from being freed


@gpu
def test_whole_image_that_does_not_fit_leaves_batches_as_they_are(backend: CudaBackend) -> None:
    fast = placed(network())
    images = planes(network(), 7)
    before = run(backend, fast, images)
    backend.reduce_memory(1)
    assert equal(run(backend, fast, images), before)
    assert {key.shape[0] for key in backend.graph_keys} == {FIXED_BATCH}


@gpu
def test_network_that_is_not_local_runs_whole_images(backend: CudaBackend) -> None:
    subject = network(norm="instance")
    image = TiledImage(photo(1, 90, 130), Tiling(subject, SIDES))
    plane = image.cut(image.tiles[0])
    (result,) = run(backend, placed(subject, torch.float32), [plane])
    assert same(result, on_cpu(subject, [plane])[0])
    assert len(backend.graph_keys) == 0


@gpu
def test_smaller_batches_after_a_lack_of_memory(backend: CudaBackend) -> None:
    subject = network()
    fast, images = placed(subject, torch.float32), planes(subject, 7)
    run(backend, fast, images)
    for _ in range(4):
        backend.reduce_memory(FIXED_BATCH)
        for result, expected in zip(run(backend, fast, images), on_cpu(subject, images), strict=True):
            assert mean_square(result, expected) <= 0.3


@gpu
def test_lack_of_memory_makes_batches_smaller_on_all_gpus() -> None:
    shared = SharedByGpus()
    one, other = (CudaBackend(torch.device("cuda"), shared=shared) for _ in range(2))
    subject, images = placed(network(), torch.float32), planes(network(), FIXED_BATCH)
    for backend in (one, other):
        run(backend, subject, images)
        assert [key.shape[0] for key in backend.graph_keys] == [FIXED_BATCH]
    one.reduce_memory(FIXED_BATCH)
    other.reduce_memory(FIXED_BATCH)
    for backend in (one, other):
        run(backend, subject, images)
        assert [key.shape[0] for key in backend.graph_keys] == [FIXED_BATCH // 2]
        assert backend.still_works()


@gpu
def test_lanes_share_the_device_while_graphs_are_captured_and_networks_are_loaded(backend: CudaBackend) -> None:
    """New shapes and new networks come while others run: nothing becomes part of a graph that does not belong there."""
    subjects = [placed(network(seed=seed)) for seed in range(2)] + [placed(network(NARROW_UPSCALE_4))]
    subjects.append(placed(network(norm="thumbnail", thumbnail=32)))
    with backend.lane(exclusive=False):
        own = [statistics(subject, 4) if subject.needs_statistics else None for subject in subjects]
    images = [planes(subject, 4) for subject in subjects]
    quiet = CudaBackend(torch.device("cuda"))
    expected = [
        run(quiet, subject, each, own=these) for subject, each, these in zip(subjects, images, own, strict=True)
    ]

    def lane(turn: int) -> bool:
        which = turn % len(subjects)
        subject = subjects[which]
        with torch.inference_mode(), backend.lane(exclusive=False):
            these = statistics(subject, 4) if subject.needs_statistics else None
            subject(torch.rand(1, 3, 24, 32).to("cuda"))  # as when a network is verified
        return equal(run(backend, subject, images[which], own=these), expected[which])

    with ThreadPoolExecutor(3) as lanes:
        assert all(lanes.map(lane, range(40)))


@gpu
def test_graphs_are_bounded() -> None:
    backend = CudaBackend(torch.device("cuda"), max_graphs=2)
    subjects = [placed(network()), placed(network(), torch.float32), placed(network(NARROW_UPSCALE_4))]
    images = [planes(subject, 3) for subject in subjects]
    first = [run(backend, subject, own) for subject, own in zip(subjects, images, strict=True)]
    for subject, own, expected in zip(subjects, images, first, strict=True):
        assert equal(run(backend, subject, own), expected)
        assert len(backend.graph_keys) == 2


@gpu
def test_only_the_graph_of_the_chosen_batch_is_kept(backend: CudaBackend) -> None:
    subject = placed(network())
    images = planes(subject, 4)
    with backend.lane(exclusive=False):
        for size in (1, 2, 4):
            backend.run(subject, images, None, size)
        assert {key.shape[0] for key in backend.graph_keys} == {1, 2, 4}
        backend.keep_batch(subject, (2, *images[0].shape), images[0].dtype)
    assert [key.shape[0] for key in backend.graph_keys] == [2]


@gpu
def test_the_graphs_of_a_network_in_another_precision_are_forgotten(backend: CudaBackend) -> None:
    half, bfloat = placed(network(), torch.float16), placed(network(), torch.bfloat16)
    images = planes(half, 2)
    expected = run(backend, half, images)
    run(backend, bfloat, images)
    backend.forget(bfloat)
    assert [key.precision for key in backend.graph_keys] == [torch.float16]
    assert equal(run(backend, half, images), expected)
