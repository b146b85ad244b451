"""`capacity`: what up to a thousand GPUs need, by arithmetic and by a simulation of the scheduler's own code.

Nothing is timed: the seconds of the device, of codecs, of the ingress and the sizes of files are assumptions, options
of this command, and time is virtual. The same options give the same figures.
"""

import asyncio
import math
import random
import selectors
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from benchmarks.decisions import Model
from benchmarks.report import Row, Tables
from benchmarks.stats import percentile
from model_store import NetworkSpec, TransformNetwork
from service.engine.admission import Admission, QueueLimits
from service.engine.cost_model import CostModel
from service.engine.deadline import Deadline
from service.engine.inference_spec import InferenceSpec
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile, TileSizes, Tiling
from service.errors import Overloaded
from service.http.relay.ranking import ranked
from service.imaging.pixels import Pixels
from service.telemetry.metrics import Metrics

MODELS = 64
"""Networks among which the requests of the simulation are spread."""

ZIPF = 1.0
"""How unequally: the second one is asked for half as often as the first, the third a third as often."""

SIDE = 16
"""Of the images of the simulation: one tile, as a photograph of a megapixel is on a GPU."""


@dataclass(frozen=True)
class Assumptions:
    """One request, and what there is to answer it."""

    device_seconds: float
    """Of a GPU, for one image in a full batch."""
    fixed_share: float
    """The share of a full batch's time that any batch takes, however few images are in it."""
    codec_seconds: float
    """Of a processor, to decode and encode it."""
    ingress_seconds: float
    """Of a processor, to take the request and pass it on."""
    bytes_in: float
    bytes_out: float
    gigabits: float
    """Network of an ingress node, each way."""
    store_bytes: float
    """Of a network in the model store."""
    store_gigabits: float
    """What the model store gives to all replicas together."""
    jobs_share: float
    """Of the requests that are jobs."""
    job_operations: float
    """Commands to the job store for each job."""
    job_store_rate: float
    """Commands a second that it carries out."""
    utilisation: float
    """Of the devices: what is above it is left for peaks and for nodes that are lost."""


def needs(gpus: int, given: Assumptions) -> Row:
    """What goes through a fleet of that many GPUs, and what each part of it must do for that."""
    rate = gpus * given.utilisation / given.device_seconds
    through = rate * max(given.bytes_in, given.bytes_out) * 8 / 1e9
    return {
        "GPUs": gpus,
        "images/s": rate,
        "codec cores per GPU": given.utilisation * given.codec_seconds / given.device_seconds,
        "ingress Gbit/s": through,
        "ingress nodes by network": math.ceil(through / (given.gigabits * given.utilisation)),
        "ingress cores": math.ceil(rate * given.ingress_seconds / given.utilisation),
        "s to publish a network": gpus * given.store_bytes * 8 / (given.store_gigabits * 1e9),
        "job store use": rate * given.jobs_share * given.job_operations / given.job_store_rate,
    }


def first_bottleneck(given: Assumptions, most: int = 1_000_000) -> Row:
    """From how many GPUs on each single part is not enough: one ingress node, one ingress core, one job store."""
    per_gpu = given.utilisation / given.device_seconds
    bits = per_gpu * max(given.bytes_in, given.bytes_out) * 8
    jobs = per_gpu * given.jobs_share * given.job_operations
    return {
        "one ingress node's network": min(most, math.floor(given.gigabits * 1e9 * given.utilisation / bits)),
        "one ingress core": min(most, math.floor(given.utilisation / (per_gpu * given.ingress_seconds))),
        "one job store": min(most, math.floor(given.job_store_rate / jobs)) if jobs else most,
    }


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything can run, and jumps to the next timer when nothing can."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumps.now


class _Jumps(selectors.DefaultSelector):
    """Waits for timers by moving the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.now += timeout
        return super().select(0)


@dataclass
class Outcome:
    """What became of the requests of a simulation."""

    seconds: list[float] = field(default_factory=list)
    """From arrival to the end on the device, of those that were answered."""
    refused: int = 0
    batches: int = 0
    tiles: int = 0


class SimulatedReplica:
    """The scheduler and the admission of a replica, before a device that takes as long as its cost model says."""

    def __init__(
        self,
        models: Sequence[Model],
        seconds: Callable[[int], float],
        outcome: Outcome,
        clock: Callable[[], float],
        limit: int = 64,
    ) -> None:
        """`seconds`: of a batch, by its images; `limit`: the most requests admitted at a time."""
        limits = QueueLimits(requests=limit, pixels=10**12, inferences=10**6)
        metrics = Metrics()
        self.admission: Admission[Model] = Admission(limits, 1, metrics, clock=clock)
        self.scheduler = Scheduler(self._run, self.admission, Concurrency(1, False), metrics, clock=clock)
        self._models = models
        self._seconds = seconds
        self._outcome = outcome
        self._clock = clock

    async def answer(self, model: int, image: Pixels, seconds: float) -> None:
        """Admit and compute one image. Raises Overloaded."""
        spec = InferenceSpec(self._models[model], *image.shape[:2])
        with self.admission.admit([spec], Deadline(self._clock() + seconds)) as [request]:
            await self.scheduler.submit(request, image)

    async def _run(self, model: Model, tiles: Sequence[ImageTile], exclusive: bool) -> None:  # noqa: ARG002 # see RunBatch
        self._outcome.batches += 1
        self._outcome.tiles += len(tiles)
        await asyncio.sleep(self._seconds(len(tiles)))


def simulate(
    replicas: int,
    load: float,
    requests: int,
    given: Assumptions,
    *,
    batch: int = 8,
    spill_seconds: float = 0.25,
    by_model: bool = True,
    seed: int = 0,
) -> Outcome:
    """`requests` at random times, `load` (1: all that full batches can do) of as many replicas.

    Each goes to the replica that is preferred for its network, or the next while that has more than `spill_seconds` of
    queued work; not `by_model`: to a random one.
    """
    loop = VirtualTime()
    try:
        return loop.run_until_complete(
            _simulate(replicas, load, requests, given, batch, spill_seconds, by_model, random.Random(seed))
        )
    finally:
        loop.close()


async def _simulate(
    replicas: int,
    load: float,
    requests: int,
    given: Assumptions,
    batch: int,
    spill_seconds: float,
    by_model: bool,
    chance: random.Random,
) -> Outcome:
    outcome, clock = Outcome(), asyncio.get_running_loop().time
    models = _models(given, batch)
    fleet = [SimulatedReplica(models, partial(_batch_seconds, given, batch), outcome, clock) for _ in range(replicas)]
    serving = [asyncio.create_task(each.scheduler.serve()) for each in fleet]
    image, weights = np.zeros((SIDE, SIDE, 3), np.uint8), [1 / (rank + 1) ** ZIPF for rank in range(MODELS)]
    names = {id(each): str(number) for number, each in enumerate(fleet)}
    asked: list[asyncio.Task[None]] = []

    async def ask(model: int) -> None:
        began = clock()
        key = str(model if by_model else chance.random())
        order = ranked(fleet, key, lambda each: names[id(each)], _backlog, spill_seconds if by_model else math.inf)
        try:
            await order[0].answer(model, image, seconds=10.0)
            outcome.seconds.append(clock() - began)
        except Overloaded:
            outcome.refused += 1

    for model in chance.choices(range(MODELS), weights, k=requests):
        asked.append(asyncio.create_task(ask(model)))
        await asyncio.sleep(chance.expovariate(load * replicas / given.device_seconds))
    await asyncio.gather(*asked)
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    return outcome


def _models(given: Assumptions, batch: int) -> list[Model]:
    """Networks that share batches of `batch` images of their own; what these really take is learned while they run."""
    network = TransformNetwork(NetworkSpec(architecture="c1s1-3", norm="none"))
    pixels = SIDE * SIDE
    sizes = TileSizes(2**20, batch_values=int(batch * pixels * network.spec.values_per_pixel))
    per_pixel = given.device_seconds / pixels
    return [Model(str(n), 1, Tiling(network, sizes), CostModel(0.0, per_pixel)) for n in range(MODELS)]


def _batch_seconds(given: Assumptions, batch: int, images: int) -> float:
    """What a batch takes: a part of the time of a full one is there for any."""
    fixed = batch * given.fixed_share
    return given.device_seconds * (fixed + images * (1 - given.fixed_share))


def _backlog(replica: SimulatedReplica) -> float:
    return replica.admission.backlog.seconds()


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark: the assumptions, in SI units, and the fleets."""
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    parser.add_argument("--gpus", type=int, nargs="+", default=(1, 8, 64, 256, 1000))
    parser.add_argument("--replicas", type=int, nargs="+", default=(1, 2, 4, 8), help="of the simulation")
    parser.add_argument("--requests", type=int, default=400, help="of the simulation, for each replica")


def run(chosen: Namespace) -> Tables:
    """The needs of each fleet, where the first bottlenecks are, and what the simulation gives by load and routing."""
    if chosen.quick:
        chosen.replicas, chosen.requests = (1, 2), 200
    given = Assumptions(**{name: getattr(chosen, name) for name in DEFAULTS})
    return {
        "needs": [needs(gpus, given) for gpus in chosen.gpus],
        "GPUs up to which one is enough": [first_bottleneck(given)],
        "simulation": [
            _row(replicas, load, by_model, chosen.requests, given)
            for replicas in chosen.replicas
            for load in (0.5, 0.8)
            for by_model in (False, True)
        ],
    }


DEFAULTS = {
    "device_seconds": 0.004,
    "fixed_share": 0.125,
    "codec_seconds": 0.020,
    "ingress_seconds": 0.027,
    "bytes_in": 400e3,
    "bytes_out": 400e3,
    "gigabits": 25.0,
    "store_bytes": 3.4e6,
    "store_gigabits": 10.0,
    "jobs_share": 0.1,
    "job_operations": 12.0,
    "job_store_rate": 80e3,
    "utilisation": 0.7,
}
"""The assumptions of docs/capacity.md."""


def _row(replicas: int, load: float, by_model: bool, requests: int, given: Assumptions) -> Row:
    outcome = simulate(replicas, load, requests * replicas, given, by_model=by_model)
    return {
        "replicas": replicas,
        "load": load,
        "routed by": "network" if by_model else "chance",
        "p50 ms": 1000 * percentile(outcome.seconds, 0.5),
        "p99 ms": 1000 * percentile(outcome.seconds, 0.99),
        "images in a batch": outcome.tiles / max(1, outcome.batches),
        "refused %": 100 * outcome.refused / (requests * replicas),
    }
