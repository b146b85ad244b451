import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_store import (
    SHIPPED_STORE,
    Architecture,
    Golden,
    GoldenMismatch,
    ModelStore,
    Network,
    StoredModel,
    TransformNetwork,
)
from model_store.manifest import Origin
from service.engine.backend import DType
from service.engine.cpu import CpuBackend
from service.engine.measurements import Measurements
from service.engine.model_loader import ModelLoader
from service.engine.openvino_network import OpenVinoCompiler, OpenVinoNetwork, is_installed
from service.engine.runner import Runner
from service.engine.tiling import TileSizes
from service.errors import DeviceLost
from service.imaging.codecs import Pixels
from tests.networks import NARROW_STYLE, NARROW_UPSCALE_4, network
from tests.service.engine.runners import LOADERS, load, made, stored
from tests.service.live import STYLE, publish


@pytest.fixture
def runner() -> Iterator[Runner]:
    subject = made()
    yield subject
    subject.close()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_network_is_proven_in_the_precision_it_runs_in(tmp_path: Path, precision: torch.dtype) -> None:
    publish(tmp_path)
    runner = made(precision)
    model = LOADERS[runner].submit(stored(tmp_path)).result()
    assert next(model.default.network.parameters()).dtype == precision
    runner.close()


@pytest.mark.parametrize(
    ("imported", "faithful", "precision"),
    [(True, True, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)],
)
def test_an_imported_network_may_have_to_answer_as_its_original(
    runner: Runner, imported: bool, faithful: bool, precision: torch.dtype
) -> None:
    """That of great-wave in bf16 differs from fp32 by seven levels, at 50 dB."""
    model = ModelStore(SHIPPED_STORE).load("great-wave")
    if imported:
        origin = Origin(layout="its own", file="wave.pth", digest=model.manifest.digest)
        model = replace(model, manifest=model.manifest.model_copy(update={"origin": origin}))
    loader = ModelLoader(runner, [torch.bfloat16], TileSizes(2**20), timed=False, faithful=faithful)
    assert next(loader.load(model).default.network.parameters()).dtype == precision


def test_cost_is_known_once_a_network_is_loaded(tmp_path: Path) -> None:
    publish(tmp_path)
    runner = made(lanes=2)
    cost = load(runner, stored(tmp_path)).default.cost_model
    assert 0 < cost.seconds(100) <= cost.seconds(1_000_000)
    assert cost.seconds(1_000_000, exclusive=True) > 0
    runner.close()


class Recording(CpuBackend):
    """Remembers the sides of its planes, and how many a batch has."""

    def __init__(self) -> None:
        super().__init__(threads=1, lanes=1)
        self.batches: list[tuple[int, int, int]] = []
        self.kept: list[tuple[int, int, int]] = []

    def keep_batch(self, network: Network, shape: Sequence[int], sample: DType) -> None:  # noqa: ARG002
        size, height, width, _ = shape
        self.kept.append((height, width, size))

    def run(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int = 1
    ) -> list[Pixels | None]:
        self.batches += [(plane.shape[0], plane.shape[1], fixed_batch) for plane in planes]
        return super().run(network, planes, statistics, fixed_batch)


@pytest.mark.parametrize("architecture", [NARROW_STYLE, NARROW_UPSCALE_4])
def test_every_shape_runs_in_its_fixed_batch_before_its_network_is_served(tmp_path: Path, architecture: str) -> None:
    values = int(Architecture.parse(architecture).values_per_pixel)
    publish(tmp_path, built=network(architecture))
    backend, sizes = Recording(), TileSizes(10**6, (32, 64, 128), 3 * 120**2 * values)
    runner = made(backend=backend, sizes=sizes)
    tiling = load(runner, stored(tmp_path)).default.tiling
    tiles = [tiling.plan(side, side)[0] for side in tiling.sides]
    shapes = {(tile.plane_height, tile.plane_width, tiling.fixed_batch(tile)) for tile in tiles}
    assert set(backend.batches) >= shapes
    assert {(height, width) for height, width, _ in backend.batches} == set(tiling.fixed_batches)
    assert len(shapes) == 3
    assert set(backend.kept) == shapes
    runner.close()


class Small(Recording):
    """Its memory holds two planes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.reduced: list[int] = []

    def run(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int = 1
    ) -> list[Pixels | None]:
        if fixed_batch > 2:
            raise torch.OutOfMemoryError
        return super().run(network, planes, statistics, fixed_batch)

    def reduce_memory(self, fixed_batch: int) -> None:
        self.reduced.append(fixed_batch)


def test_batches_that_do_not_fit_when_they_are_timed_make_no_others_smaller(tmp_path: Path) -> None:
    publish(tmp_path, built=network(NARROW_STYLE))
    values = int(Architecture.parse(NARROW_STYLE).values_per_pixel)
    backend = Small()
    runner = made(backend=backend, sizes=TileSizes(10**6, (32, 64), 8 * 120**2 * values))
    tiling = load(runner, stored(tmp_path)).default.tiling
    assert max(tiling.batch_limit(tiling.plan(side, side)[0]) for side in tiling.sides) > 2
    assert max(tiling.fixed_batches.values()) <= 2
    assert set(backend.reduced) == {1}
    runner.close()


def test_networks_of_one_architecture_are_timed_once(tmp_path: Path) -> None:
    publish(tmp_path / "one")
    publish(tmp_path / "same", built=network(STYLE, seed=1))
    publish(tmp_path / "other", built=network(NARROW_UPSCALE_4))
    backend = Recording()
    runner = made(backend=backend, sizes=TileSizes(10**6))
    first = load(runner, stored(tmp_path / "one")).default.cost_model
    timed = len(backend.batches)
    second = load(runner, stored(tmp_path / "same")).default.cost_model
    assert len(backend.batches) == timed > 0
    assert second.seconds(10**6) == first.seconds(10**6) > 0
    assert second is not first
    load(runner, stored(tmp_path / "other"))
    assert len(backend.batches) > timed
    runner.close()


def test_network_that_gives_another_output_here_is_refused(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    model = stored(tmp_path)
    wrong = Golden(model.golden.input, 1 - model.golden.output)
    with pytest.raises(GoldenMismatch, match="wave@1: the largest difference"):
        load(runner, StoredModel(model.manifest, model.network, wrong))


def test_network_that_lower_precisions_change_runs_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path)
    monkeypatch.setattr("model_store.golden.HALF_PRECISION_PSNR", 1000.0)
    runner = made(torch.bfloat16)
    model = load(runner, stored(tmp_path))
    assert model.default is model.fp32
    assert next(model.default.network.parameters()).dtype == torch.float32
    assert "under 1000 dB in torch.bfloat16; it runs in fp32" in caplog.text
    runner.close()


class Slow(CpuBackend):
    """Takes long in one precision, and remembers which were forgotten."""

    def __init__(self, slow: torch.dtype) -> None:
        super().__init__(threads=1, lanes=1)
        self.forgotten: list[torch.dtype] = []
        self._slow = slow

    def run(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int = 1
    ) -> list[Pixels | None]:
        if next(network.parameters()).dtype == self._slow:
            time.sleep(0.1)
        return super().run(network, planes, statistics, fixed_batch)

    def forget(self, network: Network) -> None:
        self.forgotten.append(next(network.parameters()).dtype)


HALF, BFLOAT = torch.float16, torch.bfloat16


@pytest.mark.parametrize(("slow", "chosen", "other"), [(HALF, BFLOAT, HALF), (BFLOAT, HALF, BFLOAT)])
def test_of_several_precisions_the_fastest_is_chosen_once(
    tmp_path: Path, slow: torch.dtype, chosen: torch.dtype, other: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path)
    backend, measurements = Slow(slow), Measurements()
    runner = made(backend=backend)
    loader = ModelLoader(runner, [HALF, BFLOAT], TileSizes(2**16), measurements=measurements)
    with caplog.at_level("INFO"):
        assert loader.load(stored(tmp_path)).default.precision == chosen
        assert loader.load(stored(tmp_path)).default.precision == chosen
    assert backend.forgotten == [other]
    assert caplog.text.count(f"runs in {chosen}: ") == 1
    shared = ModelLoader(runner, [HALF, BFLOAT], TileSizes(2**16), measurements=measurements)
    assert shared.load(stored(tmp_path)).default.precision == chosen
    assert backend.forgotten == [other]
    runner.close()


def test_of_several_precisions_one_that_changes_the_network_is_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path)
    model, check = stored(tmp_path), StoredModel.check

    def exact_but_in(inexact: set[torch.dtype]) -> Callable[..., None]:
        def checked(self: StoredModel, output: Tensor, precision: torch.dtype = torch.float32, **how: bool) -> None:
            if precision in inexact:
                raise GoldenMismatch(f"{self.manifest.label}: it is another one")
            check(self, output, precision, **how)

        return checked

    for inexact, chosen in (({HALF}, BFLOAT), ({HALF, BFLOAT}, torch.float32)):
        monkeypatch.setattr(StoredModel, "check", exact_but_in(inexact))
        runner = made(backend=Slow(HALF))
        loaded = ModelLoader(runner, [HALF, BFLOAT], TileSizes(2**16)).load(model)
        assert loaded.default.precision == chosen
        runner.close()
    assert "wave@1: it is another one in torch.float16; it runs in another precision" in caplog.text
    assert "wave@1: it is another one in torch.bfloat16; it runs in fp32" in caplog.text


def test_a_network_that_needs_the_other_precision_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though another one of its architecture has shown the first to be faster."""
    publish(tmp_path)
    publish(tmp_path, "other", built=network(STYLE, seed=1))
    runner = made(backend=Slow(BFLOAT))
    loader = ModelLoader(runner, [HALF, BFLOAT], TileSizes(2**16))
    assert loader.load(stored(tmp_path)).default.precision == HALF
    check = StoredModel.check

    def checked(self: StoredModel, output: Tensor, precision: torch.dtype = torch.float32, **how: bool) -> None:
        if precision == HALF:
            raise GoldenMismatch("it is another one")
        check(self, output, precision, **how)

    monkeypatch.setattr(StoredModel, "check", checked)
    loaded = loader.load(stored(tmp_path, "other"))
    assert loaded.default.precision == BFLOAT
    assert loaded.default.cost_model.seconds(loaded.default.tiling.max_tile_pixels) >= 0.1
    runner.close()


def test_device_that_fails_while_a_network_is_loaded_is_lost(tmp_path: Path, runner: Runner) -> None:
    class Failing(TransformNetwork):
        def forward(self, image: Tensor, *_: Tensor | None, **__: Tensor | None) -> Tensor:
            raise torch.AcceleratorError(f"illegal memory access by {tuple(image.shape)}")

    publish(tmp_path)
    broken = replace(stored(tmp_path), network=Failing(network().spec).eval())
    with pytest.raises(DeviceLost, match="AcceleratorError"):
        LOADERS[runner].submit(broken).result()
    assert runner.lost is not None


@pytest.mark.skipif(not is_installed(), reason="the extra openvino is not installed")
@pytest.mark.parametrize("only_if_faster", [False, True])
def test_openvino_computes_what_it_takes_where_that_is_wanted(
    tmp_path: Path, only_if_faster: bool, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, built=network("c3s1-4,R4,c3s1-3"))
    publish(tmp_path, "whole", built=network("c3s1-4,c3s1-3", norm="instance"))
    runner, compiler = made(), OpenVinoCompiler(1, 1, torch.float32)
    loader = ModelLoader(runner, [torch.float32], TileSizes(10**6), compiler, only_if_faster=only_if_faster)
    with caplog.at_level("INFO"):
        loaded = loader.load(stored(tmp_path))
    by_openvino = isinstance(loaded.default.network, OpenVinoNetwork)
    assert by_openvino or only_if_faster
    assert f"wave@1 is computed by {'OpenVINO' if by_openvino else 'torch'}: OpenVINO takes " in caplog.text
    assert not isinstance(loaded.fp32.network, OpenVinoNetwork)
    assert not isinstance(loader.load(stored(tmp_path, "whole")).default.network, OpenVinoNetwork)
    runner.close()
