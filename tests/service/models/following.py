"""A registry and the watcher of its stores, for the length of a scenario."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import torch

from model_store import ModelStore
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.model_loader import ModelLoader
from service.engine.pool_loader import PoolLoader
from service.engine.residency import Residency, ResidencyLimits
from service.engine.runner import Runner
from service.engine.runner_pool import RunnerPool
from service.engine.tiling import TileSizes
from service.models.load_failures import LoadFailures
from service.models.registry import ModelRegistry
from service.models.store_watcher import StoreWatcher
from service.telemetry.metrics import Metrics

Scenario = Callable[[ModelRegistry, StoreWatcher], Coroutine[Any, Any, None]]


def following(
    scenario: Scenario,
    *stores: Path | ModelStore,
    poll_seconds: float = 0.01,
    backend: Backend | None = None,
    resident_bytes: float = math.inf,
) -> Metrics:
    """Run a scenario with the models of some stores; the test says when they are read."""
    metrics = Metrics()
    runner = Runner(torch.device("cpu"), backend or CpuBackend(1, 1), 1, metrics)
    loader = PoolLoader(RunnerPool([runner]), [ModelLoader(runner, [torch.float32], TileSizes(2**20))])
    residency = Residency(ResidencyLimits(resident_bytes), metrics)
    models = ModelRegistry(LoadFailures(poll_seconds), metrics)
    made = [store if isinstance(store, ModelStore) else ModelStore(store) for store in stores]
    watcher = StoreWatcher(made, loader, residency, models, metrics, poll_seconds)
    try:
        asyncio.run(scenario(models, watcher))
    finally:
        runner.close()
    return metrics
