"""`ray`: replicas behind Ray Serve, by their number, and what the ingress adds to a request. Networks are a delay.

All replicas share this machine, whose processors would run out before its replicas do. So the network is a
convolution of 1×1, and the device sleeps for the time that the paper's style network takes on one thread here, or for
`--device-ms`. HTTP, the ingress, routing, admission, the scheduler and codecs are the service's own.
"""

import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks import photos
from benchmarks.clock import time_call
from benchmarks.load import Outcome, Plan, Request, run_plan
from benchmarks.networks import POINTWISE, STYLE_NAME, calibrated, style
from benchmarks.report import Row, Tables, markdown
from benchmarks.servers import LONG_TIMEOUT, free_port, post
from benchmarks.stats import in_milliseconds, median
from model_store import Draft, ModelStore, for_inference

if TYPE_CHECKING:
    from benchmarks.ray_cluster import RayService
    from service.ray.device import Device

STYLES = 8
"""Among which requests are spread, since each is preferred at one replica."""

SPILL_IMAGES = 2
"""Images in the queue of a replica, beyond which requests go to others."""

PASSES = 9

IDLE_SECONDS = 5.0
"""For which the ingress is watched before a load."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--replicas", type=int, nargs="+", default=(1, 2, 4))
    parser.add_argument("--clients", type=int, default=6, help="for each replica, each of which waits for its answer")
    parser.add_argument("--side", type=int, default=256, help="of the square photographs of the load, in pixels")
    parser.add_argument("--device-ms", type=float, help="the delay (default: what the style network takes here)")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each number of replicas, in turn")
    parser.add_argument("--sides", type=int, nargs="+", default=(256, 1024), help="of the requests to the ingress")
    parser.add_argument("--pairs", type=int, default=200, help="of requests, with and without the ingress")


def run(chosen: Namespace) -> Tables:
    """The ingress at one replica without any delay; then a row for each number of replicas.

    Raises ModuleNotFoundError without the extra `ray`.
    """
    from benchmarks import ray_cluster  # noqa: PLC0415 # an extra

    if chosen.quick:
        chosen.replicas, chosen.sides, chosen.seconds, chosen.rounds, chosen.pairs = (1, 2), (64,), 1, 1, 5
    delay = _style_seconds(chosen.side) if chosen.device_ms is None else chosen.device_ms / 1000
    with tempfile.TemporaryDirectory() as folder:
        store = _publish(Path(folder) / "store")
        with ray_cluster.running(store, SPILL_IMAGES * delay) as service:
            direct = free_port()
            service.deploy(ray_cluster.delayed(0.0, direct), 1)
            overhead = [_told(_overhead(service, direct, side, chosen.pairs, Path(folder))) for side in chosen.sides]
            rows = _scaling(chosen, service, ray_cluster.delayed(delay), Path(folder))
    title = f"replicas with a delay of {1000 * delay:.1f} ms instead of a network, {chosen.side} × {chosen.side}"
    return {"the ingress, beside a replica asked directly": overhead, title: rows}


def _style_seconds(side: int) -> float:
    """What the paper's style network takes for a square image on one thread, in seconds: the median."""
    network, threads = for_inference(style()), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            image = torch.zeros(1, 3, side, side)
            return median([time_call(lambda: network(image)) for _ in range(PASSES)])
    finally:
        torch.set_num_threads(threads)


def _publish(root: Path) -> Path:
    """A store of styles that cost nothing."""
    store = ModelStore(root)
    for number in range(STYLES):
        store.publish(calibrated(POINTWISE, seed=number), Draft(name=f"{STYLE_NAME}-{number}", task="style"))
    return root


def _overhead(service: "RayService", direct: int, side: int, pairs: int, folder: Path) -> Row:
    """The same request to the replica's own port and to the ingress, by turns, by one client; then to the ingress."""
    [photo] = _requests(side, folder, styles=1)
    seconds: dict[int, list[float]] = defaultdict(list)
    for port in chain.from_iterable((direct, service.port) for _ in range(pairs + 1)):
        seconds[port].append(time_call(lambda port=port: post(port, photo, "Pastiche")))  # type: ignore[misc]
    without, through = (median(seconds[port][1:]) for port in (direct, service.port))
    used = _processor_seconds(service, lambda: [post(service.port, photo, "Pastiche") for _ in range(pairs)])
    return {
        "image": f"{side} × {side}",
        "kB in": Path(photo.body).stat().st_size / 1e3,
        "ms directly": 1000 * without,
        "ms through the ingress": 1000 * through,
        "ms more": 1000 * (through - without),
        "times": through / without,
        "ms of a processor in the ingress": 1000 * used / pairs,
        "requests": pairs,
    }


def _processor_seconds(service: "RayService", work: Callable[[], object]) -> float:
    """Of the ingress, beyond what it uses in the same time without requests."""
    before = service.ingress_seconds()
    time.sleep(IDLE_SECONDS)
    idle = (service.ingress_seconds() - before) / IDLE_SECONDS
    before = service.ingress_seconds()
    taken = time_call(work)
    return service.ingress_seconds() - before - idle * taken


def _scaling(chosen: Namespace, service: "RayService", device: "type[Device]", folder: Path) -> list[Row]:
    """A row for each number of replicas, of all rounds."""
    requests = _requests(chosen.side, folder, STYLES)
    found: dict[int, list[Measurement]] = defaultdict(list)
    for _ in range(chosen.rounds):
        for replicas in chosen.replicas:
            service.deploy(device, replicas)
            clients = chosen.clients * replicas
            run_plan(Plan(service.port, requests, clients, chosen.seconds / 4))
            found[replicas].append(_measure(service, Plan(service.port, requests, clients, chosen.seconds)))
    first = min(found)
    base = median([each.outcome.rate for each in found[first]]) / first
    return [_row(replicas, chosen.clients * replicas, found[replicas], base) for replicas in found]


@dataclass(frozen=True)
class Measurement:
    """A load, and the processor seconds that the ingress needed for it."""

    outcome: Outcome
    ingress_seconds: float


def _measure(service: "RayService", plan: Plan) -> Measurement:
    outcomes: list[Outcome] = []
    used = _processor_seconds(service, lambda: outcomes.append(run_plan(plan)))
    [outcome] = outcomes
    measured = Measurement(outcome, used)
    _told(
        {
            "clients": plan.clients,
            "images/s": outcome.rate,
            **in_milliseconds(outcome.seconds()),
            "ingress s": measured.ingress_seconds,
            "answers": len(outcome.answers),
        }
    )
    return measured


def _told(row: Row) -> Row:
    """The row, which is printed as soon as it is known."""
    print(markdown([row]), flush=True)
    return row


def _row(replicas: int, clients: int, measured: Sequence[Measurement], base: float) -> Row:
    """The median round; percentiles are those of all rounds."""
    rate = median([each.outcome.rate for each in measured])
    answered = [len(each.outcome.of("ok")) for each in measured]
    return {
        "replicas": replicas,
        "clients": clients,
        "images/s": rate,
        "times one replica": rate / base,
        **in_milliseconds(list(chain.from_iterable(each.outcome.seconds() for each in measured))),
        "ms of a processor in the ingress": 1000
        * sum(each.ingress_seconds for each in measured)
        / max(1, sum(answered)),
        "not answered": sum(len(each.outcome.answers) for each in measured) - sum(answered),
    }


def _requests(side: int, folder: Path, styles: int) -> tuple[Request, ...]:
    """To paint one square photograph, which is kept in the folder, in each of so many styles."""
    body = folder / f"{side}.jpg"
    body.write_bytes(photos.jpeg(photos.photo(side, side)))
    headers = {"Content-Type": "image/jpeg", **LONG_TIMEOUT}
    paths = (f"/v1/stylize/{STYLE_NAME}-{number}?size=native&format=jpeg" for number in range(styles))
    return tuple(Request(path, str(body), headers) for path in paths)
