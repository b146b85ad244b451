"""Builds the device of some settings: what runs batches on it, and what loads networks for that."""

import math
from dataclasses import dataclass

import torch

from service.engine import openvino_network
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.cuda import CudaBackend
from service.engine.device import choose_device, choose_precision, configure_torch
from service.engine.layer_forms import LayerSeconds, seconds_on_gpu
from service.engine.model_loader import ModelLoader
from service.engine.openvino_network import OpenVinoCompiler
from service.engine.residency import ResidencyLimits
from service.engine.runner import Runner
from service.engine.scheduler import Concurrency
from service.engine.tiling import TileSizes
from service.settings import MEGA, Settings
from service.telemetry.metrics import Metrics

GPU_LANES = 2
"""Batches in flight on a GPU: one is computed while another is copied."""

GPU_TILE_SIDES = (256, 512, 1024)
"""Sides of tiles on a GPU, in output pixels: few shapes, so that tiles of many images fill the batches of each."""

GPU_BATCH_VALUES = 128 * MEGA
"""256 MB of planes in half precision, whatever the network: 2.7 megapixels of the paper's style network."""


GPU_WEIGHTS = 0.4
"""Share of a GPU's free memory that weights may take by default; the rest is for graphs and planes."""


@dataclass(frozen=True)
class Device:
    """A device, ready for networks."""

    runner: Runner
    loader: ModelLoader
    concurrency: Concurrency
    precision: torch.dtype
    tile_sizes: TileSizes


def assemble_device(settings: Settings, metrics: Metrics, *, timed: bool = True) -> Device:
    """Configures torch for the whole process. `timed`: see `ModelLoader`.

    Raises ValueError where the device does not exist.
    """
    configure_torch()
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    concurrency, sizes = _concurrency(settings, device), _tile_sizes(settings, device)
    runner = Runner(device, _backend(settings, device, concurrency), concurrency.lanes, metrics)
    compiler = _compiler(settings, device, concurrency, precision, timed=timed)
    only_if_faster = settings.cpu_engine == "auto"
    loader = ModelLoader(
        runner,
        precision,
        sizes,
        compiler,
        only_if_faster=only_if_faster,
        timed=timed,
        layer_seconds=_layer_seconds(device),
    )
    return Device(runner, loader, concurrency, precision, sizes)


def residency_limits(settings: Settings, free_bytes: int | None) -> ResidencyLimits:
    """How many bytes of weights may be where; `free_bytes`: of a GPU at the start, None where there is none.

    On a CPU the device's memory is the host's: weights leave it for the disk.
    """
    if free_bytes is None:
        return ResidencyLimits(math.inf if settings.resident_bytes is None else settings.resident_bytes)
    return ResidencyLimits(settings.resident_bytes or int(GPU_WEIGHTS * free_bytes), settings.resident_host_bytes)


def free_bytes(device: torch.device) -> int | None:
    """Of a GPU's memory; None of a CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _backend(settings: Settings, device: torch.device, concurrency: Concurrency) -> Backend:
    if device.type == "cuda":
        return CudaBackend(device)
    return CpuBackend(settings.threads, concurrency.lanes)


def _layer_seconds(device: torch.device) -> LayerSeconds | None:
    return seconds_on_gpu(device) if device.type == "cuda" else None


def _compiler(
    settings: Settings, device: torch.device, concurrency: Concurrency, precision: torch.dtype, *, timed: bool
) -> OpenVinoCompiler | None:
    """By `auto` only where networks are timed. Raises ValueError where it is asked for by name and not installed."""
    wanted = timed and settings.cpu_engine == "auto" and openvino_network.is_installed()
    if device.type != "cpu" or not (wanted or settings.cpu_engine == "openvino"):
        return None
    return OpenVinoCompiler(settings.threads, concurrency.lanes, precision)


def _concurrency(settings: Settings, device: torch.device) -> Concurrency:
    if device.type == "cuda":
        return Concurrency(GPU_LANES, exclusive_batches=False)
    lanes = min(settings.lanes, settings.threads)
    return Concurrency(lanes, exclusive_batches=lanes > 1)


def _tile_sizes(settings: Settings, device: torch.device) -> TileSizes:
    """On a CPU, where batches gain nothing, one tile runs at a time."""
    if device.type == "cuda":
        return TileSizes(settings.tile_values, GPU_TILE_SIDES, settings.batch_values or GPU_BATCH_VALUES)
    return TileSizes(settings.tile_values, batch_values=settings.batch_values or 0)
