"""A registry that follows stores, for the length of a scenario."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import torch

from model_store import ModelStore
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.model_loader import ModelLoader
from service.engine.runner import Runner
from service.engine.tiling import TileSizes
from service.models.registry import ModelRegistry
from service.telemetry.metrics import Metrics

Scenario = Callable[[ModelRegistry], Coroutine[Any, Any, None]]


def following(scenario: Scenario, *roots: Path, poll_seconds: float = 0.01, backend: Backend | None = None) -> Metrics:
    """Run a scenario with the models of some stores; the test says when they are read."""
    metrics = Metrics()
    runner = Runner(torch.device("cpu"), backend or CpuBackend(1, 1), 1, metrics)
    loader = ModelLoader(runner, torch.float32, TileSizes(2**20))
    try:
        asyncio.run(scenario(ModelRegistry([ModelStore(root) for root in roots], loader, metrics, poll_seconds)))
    finally:
        runner.close()
    return metrics
