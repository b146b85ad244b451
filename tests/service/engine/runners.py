"""Runners of the tests, with their metrics and with what loads models for them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from model_store import Architecture, ModelStore, Network, StoredModel
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.layer_forms import LayerSeconds
from service.engine.loaded_model import LoadedModel
from service.engine.measurements import Measurements
from service.engine.model_loader import ModelLoader
from service.engine.pool_loader import PoolLoader
from service.engine.runner import Runner
from service.engine.runner_pool import RunnerPool
from service.engine.tiling import TileSizes
from service.imaging.pixels import Pixels
from service.telemetry.metrics import Metrics
from tests.networks import NARROW_STYLE

CPU = torch.device("cpu")
WHOLE = TileSizes(2**22)
NARROW_VALUES = int(Architecture.parse(NARROW_STYLE).values_per_pixel)

GONE = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
"""What a device raises that is lost."""

METRICS: dict[Runner, Metrics] = {}
LOADERS: dict[Runner, PoolLoader] = {}


def made(
    precision: torch.dtype = torch.float32,
    backend: Backend | None = None,
    lanes: int = 1,
    device: torch.device = CPU,
    sizes: TileSizes = WHOLE,
) -> Runner:
    metrics = Metrics()
    runner = Runner(device, backend or CpuBackend(threads=1, lanes=lanes), lanes, metrics)
    METRICS[runner] = metrics
    LOADERS[runner] = PoolLoader(RunnerPool([runner]), [ModelLoader(runner, [precision], sizes)])
    return runner


def made_pool(*backends: Backend, sizes: TileSizes = WHOLE, layer_seconds: LayerSeconds | None = None) -> PoolLoader:
    """A pool of a runner for each of these backends, with a lane each, and what loads models for it."""
    metrics, measurements = Metrics(), Measurements()
    loaders = []
    for number, backend in enumerate(backends):
        runner = Runner(torch.device("cpu", number), backend, 1, metrics)
        METRICS[runner] = metrics
        loaders.append(
            ModelLoader(runner, [torch.float32], sizes, layer_seconds=layer_seconds, measurements=measurements)
        )
    return PoolLoader(RunnerPool([loader.runner for loader in loaders]), loaders)


class Controlled(CpuBackend):
    """A device that computes while it may, until it is told to fail, and remembers how many batches it had."""

    def __init__(self) -> None:
        super().__init__(threads=1, lanes=1)
        self.may_run = Event()
        self.may_run.set()
        self.fault: Exception | None = None
        self.batches = 0

    @contextmanager
    def lane(self, exclusive: bool) -> Iterator[None]:
        self.may_run.wait()
        if self.fault is not None:
            raise self.fault
        with super().lane(exclusive):
            yield

    def run_eager(self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None) -> list[Pixels | None]:
        self.batches += 1
        return super().run_eager(network, planes, statistics)


def load(runner: Runner, model: StoredModel) -> LoadedModel:
    """A model for the runner."""
    return LOADERS[runner].load(model)


def value(runner: Runner, name: str, **labels: str) -> float | None:
    return METRICS[runner].registry.get_sample_value(f"pastiche_{name}", labels)


def stored(root: Path, name: str = "wave") -> StoredModel:
    return ModelStore(root).load(name)
