"""`residency`: answers of a service with more styles than fit, simulated by the scheduler's own code. Needs no device.

With `--served` a real one on this machine's processor is measured as well (`served_styles.py`).

Styles are asked for as on the web, by Zipf's law. The seconds of batches and of loads are options; the tiles' and the
loads' time passes by a clock of the simulation.
"""

import asyncio
import random
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import Row, Tables
from benchmarks.served_styles import Measurement
from benchmarks.stats import median
from model_store import NetworkSpec, TransformNetwork
from service.engine.admission import Admission, QueueLimits
from service.engine.cost_model import CostModel
from service.engine.deadline import Deadline
from service.engine.inference_spec import InferenceSpec
from service.engine.residency import Place, Residency, ResidencyLimits
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile, TileSizes, Tiling
from service.telemetry.metrics import Metrics

MIB = 2**20
LATER = 1e12
LANES = 2
SIDE = 8
"""Of the images: their pixels are not computed."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--styles", type=int, default=1000)
    parser.add_argument(
        "--style-mib", type=float, default=10.0, help="weights of a style: fp16 and fp32 of the paper's"
    )
    parser.add_argument("--device-mib", type=float, nargs="+", default=(500, 2500, 9600))
    parser.add_argument("--host-mib", type=float, default=4096)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--zipf", type=float, default=1.0, help="exponent of the law by which styles are asked for")
    parser.add_argument("--batch-ms", type=float, default=1.0, help="of one image on the device")
    parser.add_argument("--host-ms", type=float, default=1.0, help="for weights to come from the host")
    parser.add_argument("--disk-ms", type=float, default=60.0, help="to read, verify and load them from the store")
    parser.add_argument("--served", type=int, default=0, help="styles of a real service, measured on this machine")
    parser.add_argument("--shares", type=float, nargs="+", default=(0.05, 0.25, 0.96), help="of them that may be held")


def run(chosen: Namespace) -> Tables:
    """One row for each budget of the device."""
    if chosen.quick:
        chosen.styles, chosen.requests, chosen.device_mib = 20, 60, (50,)
    simulated = {"residency": [Simulation(chosen, device).run() for device in chosen.device_mib]}
    if not chosen.served:
        return simulated
    measurement = Measurement(chosen.served, chosen.requests, chosen.clients, chosen.zipf)
    with tempfile.TemporaryDirectory() as folder:
        return simulated | {"a real service on this processor": measurement.rows(chosen.shares, Path(folder))}


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> list[object]:
            self._now += timeout or 0.0
            found: list[object] = select(0)
            return found

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        """Seconds of the simulation."""
        return self._now


@dataclass(eq=False)
class Style:
    """A style: what the scheduler must know of it, and weights whose moves take the time of the options."""

    name: str
    scale: int
    tiling: Tiling
    cost_model: CostModel
    bytes: int
    host_seconds: float
    disk_seconds: float
    place: Place = Place.DEVICE
    """Where a service has it that was just started, until others make it leave."""

    async def move(self, place: Place) -> None:
        """See `Weights`."""
        seconds = {Place.HOST: self.host_seconds, Place.DISK: self.disk_seconds}.get(self.place, 0.0)
        await asyncio.sleep(seconds if place is Place.DEVICE else 0.0)
        self.place = place


class Simulation:
    """One budget of the device."""

    def __init__(self, chosen: Namespace, device_mib: float) -> None:
        self._chosen = chosen
        self._device_mib = device_mib
        self._metrics = Metrics()
        network = TransformNetwork(NetworkSpec(architecture="c1s1-3", norm="none"))
        tiling, cost = Tiling(network, TileSizes(2**20)), CostModel(chosen.batch_ms / 1000, 0.0)
        size, loads = int(chosen.style_mib * MIB), (chosen.host_ms / 1000, chosen.disk_ms / 1000)
        self._styles = [Style(str(i), 1, tiling, cost, size, *loads) for i in range(chosen.styles)]

    def run(self) -> Row:
        """Its row."""
        loop = VirtualLoop()
        try:
            return loop.run_until_complete(self._row(loop.time))
        finally:
            loop.close()

    async def _row(self, clock: Callable[[], float]) -> Row:
        chosen = self._chosen
        limits = ResidencyLimits(self._device_mib * MIB, chosen.host_mib * MIB)
        residency = Residency(limits, self._metrics, clock)
        for style in self._styles:
            await residency.add(style)
        queue = QueueLimits(requests=10**6, pixels=10**12, inferences=10**6)
        admission: Admission[Style] = Admission(
            queue, LANES, self._metrics, load_seconds=residency.load_seconds, clock=clock
        )
        scheduler = Scheduler(
            self._compute,
            admission,
            Concurrency(LANES, exclusive_batches=False),
            self._metrics,
            hold_weights=residency.hold,
            keep_weights=residency.keep,
            clock=clock,
        )
        serving = asyncio.create_task(scheduler.serve())
        asked = iter(self._asked())
        warm: list[float] = []
        cold: list[float] = []

        async def client() -> None:
            for style in asked:
                began, times = clock(), warm if style.place is Place.DEVICE else cold
                with admission.admit([InferenceSpec(style, SIDE, SIDE)], Deadline(LATER)) as (request,):
                    await scheduler.submit(request, np.zeros((SIDE, SIDE, 3), np.uint8))
                times.append(clock() - began)

        began = clock()
        await asyncio.gather(*(client() for _ in range(chosen.clients)))
        seconds = clock() - began
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return {
            "device MiB": self._device_mib,
            "styles that fit": int(self._device_mib // chosen.style_mib),
            "requests/s": len(warm + cold) / seconds,
            "warm share": len(warm) / len(warm + cold),
            "warm median ms": 1000 * median(warm) if warm else None,
            "cold median ms": 1000 * median(cold) if cold else None,
            "slowest ms": 1000 * max(warm + cold),
            "loads from host": self._loads(Place.HOST),
            "loads from disk": self._loads(Place.DISK),
            "most MiB held": residency.held(Place.DEVICE) / MIB,
        }

    async def _compute(self, _style: Style, tiles: Sequence[ImageTile], _exclusive: bool) -> None:
        await asyncio.sleep(self._chosen.batch_ms / 1000 * len(tiles))
        for image_tile in tiles:
            image_tile.paste(image_tile.cut())

    def _asked(self) -> list[Style]:
        weights = [1 / (rank + 1) ** self._chosen.zipf for rank in range(len(self._styles))]
        return random.Random(0).choices(self._styles, weights, k=self._chosen.requests)

    def _loads(self, source: Place) -> float:
        labels = {"source": str(source)}
        return self._metrics.registry.get_sample_value("pastiche_weight_loads_total", labels) or 0.0
