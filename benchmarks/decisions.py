"""`decisions`: processor time of the decisions on the event loop, against what is admitted. Needs no device."""

import asyncio
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Row, Tables
from benchmarks.stats import median
from model_store import NetworkSpec, TransformNetwork
from service.engine.admission import Admission, QueueLimits
from service.engine.cost_model import CostModel
from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import InferenceSpec
from service.engine.request_queue import RequestQueue
from service.engine.tiling import TileSizes, Tiling
from service.telemetry.metrics import Metrics

FRAMES_QUEUED = 8
"""Frames of each animation that wait for the device: as many as are decoded ahead."""

LATER = 1e9
SIDE = 16


@dataclass(frozen=True, eq=False)
class Model:
    """What decisions need to know of a model: a network without neighbours, whose tiles take a microsecond."""

    name: str
    scale: int
    tiling: Tiling
    cost_model: CostModel


Requests = Sequence[InferenceRequest[Model]]


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 4, 16, 64), help="animations admitted")
    parser.add_argument("--frames", type=int, default=600, help="of each animation")
    parser.add_argument("--repetitions", type=int, default=51)


def run(chosen: Namespace) -> Tables:
    """One row for each number of clients; medians, in milliseconds of the thread's processor time."""
    if chosen.quick:
        chosen.clients, chosen.frames, chosen.repetitions = (1, 2), 20, 3
    return {"decisions": [asyncio.run(_row(clients, chosen.frames, chosen.repetitions)) for clients in chosen.clients]}


async def _row(clients: int, frames: int, repetitions: int) -> Row:
    """Times with so many animations admitted."""
    network = TransformNetwork(NetworkSpec(architecture="c1s1-3", norm="none"))
    model = Model("model", 1, Tiling(network, TileSizes(2**20)), CostModel(1e-6, 0.0))
    limits = QueueLimits(requests=10**9, pixels=10**18, inferences=10**9)
    admission: Admission[Model] = Admission(limits, 2, Metrics())
    spec = [InferenceSpec(model, SIDE, SIDE)]
    with ExitStack() as admitted:
        for _ in range(clients):
            requests = admitted.enter_context(admission.admit(spec, Deadline(LATER), frames=frames))
            for request in requests[:FRAMES_QUEUED]:
                admitted.enter_context(admission.backlog.queued(request))
        inferences = list(admission.inferences)
        return {
            "animations": clients,
            "inference requests": len(inferences),
            "check ms": _milliseconds(lambda: admission.check(spec, Deadline(LATER)), repetitions),
            "check of an animation ms": _milliseconds(
                lambda: admission.check(spec, Deadline(LATER), frames=frames), repetitions
            ),
            "admit and cancel an animation ms": _milliseconds(lambda: _cancel(admission, spec, frames), repetitions),
            "next tile ms": _milliseconds(_next_tile(inferences), min(repetitions, len(inferences))),
        }


def _cancel(admission: Admission[Model], spec: Sequence[InferenceSpec[Model]], frames: int) -> None:
    """An animation is admitted, and its client leaves."""
    with suppress(asyncio.CancelledError), admission.admit(spec, Deadline(LATER), frames=frames):
        raise asyncio.CancelledError


def _next_tile(requests: Requests) -> Callable[[], None]:
    """What the scheduler does to take one tile of a queue that holds all of these."""
    queue: RequestQueue[Model] = RequestQueue(lanes=2)
    for request in requests:
        request.enqueue(np.zeros((SIDE, SIDE, 3), np.uint8), predicted_finish=0.0)
        queue.add(request)

    def take() -> None:
        queue.renew_oldest()
        late, first = list(queue.pop_late(time.monotonic())), queue.most_urgent()
        assert first is not None
        assert not late
        first.start_tile()
        queue.renew(first)

    return take


def _milliseconds(decide: Callable[[], object], repetitions: int) -> float:
    """The median of the processor time of one call."""
    seconds = []
    for _ in range(repetitions):
        began = time.thread_time()
        decide()
        seconds.append(time.thread_time() - began)
    return 1000 * median(seconds)
