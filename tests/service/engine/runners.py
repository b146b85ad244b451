"""Runners of the tests, with their metrics and with what loads models for them."""

from pathlib import Path

import torch

from model_store import Architecture, ModelStore, StoredModel
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.loaded_model import LoadedModel
from service.engine.model_loader import ModelLoader
from service.engine.pool_loader import PoolLoader
from service.engine.runner import Runner
from service.engine.runner_pool import RunnerPool
from service.engine.tiling import TileSizes
from service.telemetry.metrics import Metrics
from tests.networks import NARROW_STYLE

CPU = torch.device("cpu")
WHOLE = TileSizes(2**22)
NARROW_VALUES = int(Architecture.parse(NARROW_STYLE).values_per_pixel)

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
    LOADERS[runner] = PoolLoader(RunnerPool([runner]), [ModelLoader(runner, precision, sizes)])
    return runner


def load(runner: Runner, model: StoredModel) -> LoadedModel:
    """A model for the runner."""
    return LOADERS[runner].load(model)


def value(runner: Runner, name: str, **labels: str) -> float | None:
    return METRICS[runner].registry.get_sample_value(f"pastiche_{name}", labels)


def stored(root: Path, name: str = "wave") -> StoredModel:
    return ModelStore(root).load(name)
