"""`devices`: images a second of one service with several devices, which are simulated: where the host falls behind.

A simulated device does on the host what a GPU's backend does there: it copies the planes of a batch into one buffer,
waits until the device is free, sleeps for the time of the batch, and gives back views of the outputs. Nothing is
computed. The scheduler, the pool of runners, their threads, tiles and results are the service's own; there is no HTTP
and no codec.
"""

import asyncio
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock, local

import numpy as np
import torch
import uvloop
from torch import Tensor

from benchmarks.report import Row, Tables
from model_store import Network, NetworkSpec, TransformNetwork
from model_store.allocator import configure_allocator
from service.engine.admission import Admission, QueueLimits
from service.engine.backend import DType
from service.engine.cost_model import CostModel
from service.engine.deadline import Deadline
from service.engine.device_assembly import GPU_BATCH_VALUES, GPU_LANES, GPU_TILE_SIDES
from service.engine.inference_spec import InferenceSpec
from service.engine.loaded_model import LoadedNetwork
from service.engine.runner import Runner
from service.engine.runner_pool import RunnerPool
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile, TileSizes, Tiling
from service.imaging.pixels import Pixels
from service.settings import MEGA, Settings
from service.telemetry.metrics import Metrics

STYLE = "c9s1-32,d64,d128,R128*5,u64,u32,c9s1-3"
LATER = 1e12


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--devices", type=int, nargs="+", default=(1, 2, 4, 8))
    parser.add_argument("--sides", type=int, nargs="+", default=(256, 1024), help="of the square images, in pixels")
    parser.add_argument("--megapixel-ms", type=float, nargs="+", default=(4.0, 0.0), help="of the planes of a batch")
    parser.add_argument("--batch", type=int, default=4, help="tiles that a batch computes, if its memory suffices")
    parser.add_argument("--clients", type=int, default=8, help="for each device, each of which waits for its answer")
    parser.add_argument("--seconds", type=float, default=4.0)


def run(chosen: Namespace) -> Tables:
    """A table for each size of image and each time of the devices; with 0 ms the host alone is measured."""
    configure_allocator()
    if chosen.quick:
        chosen.devices, chosen.sides, chosen.seconds = (1, 2), (64,), 0.2
    return {
        f"{side} × {side}, {milliseconds:g} ms a megapixel": _rows(chosen, side, milliseconds / 1000 / MEGA)
        for side in chosen.sides
        for milliseconds in chosen.megapixel_ms
    }


class SimulatedGpu:
    """See `Backend`: what a GPU's does on the host, and sleep for the rest."""

    def __init__(self, seconds_per_pixel: float) -> None:
        self._seconds_per_pixel = seconds_per_pixel
        self._computing = Lock()
        self._buffers = local()
        """Of each thread, which has pasted its outputs before it runs again; pinned memory is reused as well."""

    def lane(self, exclusive: bool) -> AbstractContextManager[None]:  # noqa: ARG002
        """See `Backend`."""
        return nullcontext()

    def run(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int = 1
    ) -> list[Pixels | None]:
        """See `Backend`."""
        del statistics
        batch = self._buffer((fixed_batch, *planes[0].shape), planes[0].dtype)
        np.stack(planes, out=batch[: len(planes)])
        batch[len(planes) :] = 0
        with self._computing:
            time.sleep(self._seconds_per_pixel * batch[..., 0].size)
        before, after = network.halos(batch.shape[1] - sum(network.halos(1)))
        return [plane[before : len(plane) - after, before : len(plane) - after] for plane in batch[: len(planes)]]

    def run_eager(self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None) -> list[Pixels | None]:
        """See `Backend`."""
        return self.run(network, planes, statistics, len(planes))

    def keep_batch(self, network: Network, shape: Sequence[int], sample: DType) -> None:
        """See `Backend`."""

    def forget(self, network: Network) -> None:
        """See `Backend`."""

    def launch_lock(self) -> AbstractContextManager[None]:
        """See `Backend`."""
        return nullcontext()

    def statistics(self, network: TransformNetwork, thumbnail: Tensor) -> Tensor:
        """See `Backend`."""
        return network.statistics(thumbnail)

    def reduce_memory(self, fixed_batch: int) -> None:
        """See `Backend`."""

    def still_works(self) -> bool:
        """See `Backend`."""
        return True

    def _buffer(self, shape: tuple[int, ...], sample: DType) -> Pixels:
        kept: Pixels | None = getattr(self._buffers, "kept", None)
        if kept is None or (kept.shape, kept.dtype) != (shape, sample):
            kept = self._buffers.kept = np.empty(shape, sample)
        return kept


@dataclass(eq=False)
class Style:
    """What the scheduler and the pool must know of a style."""

    name: str
    scale: int
    network: LoadedNetwork

    @property
    def tiling(self) -> Tiling:
        """See `EngineModel`."""
        return self.network.tiling

    @property
    def cost_model(self) -> CostModel:
        """See `EngineModel`."""
        return self.network.cost_model


class SimulatedService:
    """A scheduler in front of several simulated devices."""

    def __init__(self, devices: int, seconds_per_pixel: float, batch: int) -> None:
        metrics, network = Metrics(), TransformNetwork(NetworkSpec(architecture=STYLE, norm="none"))
        tiling = _with_batches(
            Tiling(network, TileSizes(Settings().tile_values, GPU_TILE_SIDES, GPU_BATCH_VALUES)), batch
        )
        self._style = Style("style", 1, LoadedNetwork(network, network, tiling, CostModel(0.0, seconds_per_pixel)))
        places = [torch.device("cpu", number) for number in range(devices)]
        self._pool = RunnerPool(
            [Runner(place, SimulatedGpu(seconds_per_pixel), GPU_LANES, metrics) for place in places]
        )
        concurrency = Concurrency(self._pool.lanes, exclusive_batches=False, devices=devices)
        limits = QueueLimits(requests=10**6, pixels=10**12, inferences=10**6)
        self._admission: Admission[Style] = Admission(limits, concurrency.lanes, metrics)
        self._scheduler = Scheduler(self._run, self._admission, concurrency, metrics)

    async def images_per_second(self, side: int, clients: int, seconds: float) -> float:
        """That `clients` get, each of which sends one image after another."""
        serving = asyncio.create_task(self._scheduler.serve())
        began, image = time.monotonic(), np.zeros((side, side, 3), np.uint8)
        answered = await asyncio.gather(*(self._ask(image, began + seconds) for _ in range(clients)))
        taken = time.monotonic() - began
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return sum(answered) / taken

    def close(self) -> None:
        """End the devices."""
        self._pool.close()

    async def _ask(self, image: Pixels, end: float) -> int:
        answered = 0
        while time.monotonic() < end:
            with self._admission.admit([InferenceSpec(self._style, *image.shape[:2])], Deadline(LATER)) as [request]:
                await self._scheduler.submit(request, image)
            answered += 1
        return answered

    async def _run(self, style: Style, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        await asyncio.wrap_future(self._pool.submit(style.network, tiles, exclusive))


def _with_batches(tiling: Tiling, batch: int) -> Tiling:
    tiles = [tiling.plan(side, side)[0] for side in tiling.sides]
    return tiling.with_batches({tile.shape: min(batch, tiling.batch_limit(tile)) for tile in tiles})


@contextmanager
def _service(devices: int, seconds_per_pixel: float, batch: int) -> Iterator[SimulatedService]:
    made = SimulatedService(devices, seconds_per_pixel, batch)
    try:
        yield made
    finally:
        made.close()


def _rows(chosen: Namespace, side: int, seconds_per_pixel: float) -> list[Row]:
    rows: list[Row] = []
    for devices in chosen.devices:
        began, used = time.monotonic(), time.process_time()
        with (
            _service(devices, seconds_per_pixel, chosen.batch) as service,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            rate = runner.run(service.images_per_second(side, chosen.clients * devices, chosen.seconds))
        processors = (time.process_time() - used) / (time.monotonic() - began)
        first = float(rows[0]["images/s"] or 1) if rows else rate
        times = rate / first * chosen.devices[0]
        rows.append({"devices": devices, "images/s": rate, "times one device": times, "host processors": processors})
    return rows
