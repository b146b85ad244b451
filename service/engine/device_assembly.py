"""Builds the devices of some settings: what runs batches on them, and what loads networks for that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from service.engine import openvino_network
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.cuda import CudaBackend
from service.engine.device import choose_devices, choose_precisions, configure_torch
from service.engine.layer_forms import LayerSeconds, seconds_on_gpu
from service.engine.measurements import Measurements
from service.engine.model_loader import ModelLoader
from service.engine.openvino_network import OpenVinoCompiler
from service.engine.pool_loader import PoolLoader
from service.engine.residency import ResidencyLimits
from service.engine.runner import Runner
from service.engine.runner_pool import RunnerPool
from service.engine.scheduler import Concurrency
from service.engine.shared_by_gpus import SharedByGpus
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
    """A device, or several equal ones that work as one, ready for networks."""

    pool: RunnerPool
    loader: PoolLoader
    concurrency: Concurrency
    precisions: Sequence[torch.dtype]
    """That its networks may have, beside fp32."""
    tile_sizes: TileSizes


def assemble_device(
    settings: Settings,
    metrics: Metrics,
    *,
    timed: bool = True,
    devices: Sequence[torch.device] | None = None,
    measurements: Measurements | None = None,
) -> Device:
    """Configures torch for the whole process. `timed`: see `ModelLoader`.

    `devices`: equal ones, instead of those of the settings; `measurements`: what is known of networks. Raises
    ValueError where a device does not exist.
    """
    configure_torch()
    devices = devices or choose_devices(settings.device_names)
    precisions, sizes = choose_precisions(settings.precision, devices[0]), _tile_sizes(settings, devices[0])
    lanes = _lanes(settings, devices[0])
    compiler = _compiler(settings, devices[0], lanes, precisions[0], timed=timed)
    shared, measurements = SharedByGpus(), measurements or Measurements()
    loaders = [
        ModelLoader(
            Runner(device, _backend(settings, device, lanes, shared), lanes, metrics),
            precisions,
            sizes,
            compiler,
            only_if_faster=settings.cpu_engine == "auto",
            timed=timed,
            layer_seconds=_layer_seconds(device),
            measurements=measurements,
            faithful=settings.precision == "auto",
        )
        for device in devices
    ]
    pool = RunnerPool([loader.runner for loader in loaders])
    return Device(pool, PoolLoader(pool, loaders), _concurrency(devices, lanes), precisions, sizes)


def residency_limits(settings: Settings, free_bytes: int | None) -> ResidencyLimits:
    """How many bytes of weights may be where; `free_bytes`: of each GPU at the start, None where there is none.

    On a CPU the device's memory is the host's: weights leave it for the disk.
    """
    if free_bytes is None:
        return ResidencyLimits(math.inf if settings.resident_bytes is None else settings.resident_bytes)
    share = int(GPU_WEIGHTS * free_bytes / settings.processes)
    return ResidencyLimits(settings.resident_bytes or share, settings.resident_host_bytes)


def free_bytes(devices: Sequence[torch.device]) -> int | None:
    """Of the memory of the GPU that has the least; None of a CPU."""
    gpus = [device for device in devices if device.type == "cuda"]
    return min((torch.cuda.mem_get_info(gpu)[0] for gpu in gpus), default=None)


def _backend(settings: Settings, device: torch.device, lanes: int, shared: SharedByGpus) -> Backend:
    if device.type == "cuda":
        return CudaBackend(device, shared=shared)
    return CpuBackend(settings.threads, lanes)


def _layer_seconds(device: torch.device) -> LayerSeconds | None:
    return seconds_on_gpu(device) if device.type == "cuda" else None


def _compiler(
    settings: Settings, device: torch.device, lanes: int, precision: torch.dtype, *, timed: bool
) -> OpenVinoCompiler | None:
    """By `auto` only where networks are timed. Raises ValueError where it is asked for by name and not installed."""
    wanted = timed and settings.cpu_engine == "auto" and openvino_network.is_installed()
    if device.type != "cpu" or not (wanted or settings.cpu_engine == "openvino"):
        return None
    return OpenVinoCompiler(settings.threads, lanes, precision)


def _lanes(settings: Settings, device: torch.device) -> int:
    """Of each device."""
    return GPU_LANES if device.type == "cuda" else min(settings.lanes, settings.threads)


def _concurrency(devices: Sequence[torch.device], lanes: int) -> Concurrency:
    """A lone processor can give all of its lanes to one batch."""
    exclusive = len(devices) == 1 and devices[0].type == "cpu" and lanes > 1
    return Concurrency(lanes * len(devices), exclusive_batches=exclusive, devices=len(devices))


def _tile_sizes(settings: Settings, device: torch.device) -> TileSizes:
    """On a CPU, where batches gain nothing, one tile runs at a time."""
    if device.type == "cuda":
        return TileSizes(settings.tile_values, GPU_TILE_SIDES, settings.batch_values or GPU_BATCH_VALUES)
    return TileSizes(settings.tile_values, batch_values=settings.batch_values or 0)
