"""`interference`: latency of small images while a large picture is in progress, and while none is."""

import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import load, networks, photos, servers, stats
from benchmarks.errors import BenchmarkError
from benchmarks.load import Outcome, Plan
from benchmarks.report import Row, Tables
from benchmarks.servers import Server

THUMBNAIL = 256
CLIENTS = (1, 2)

LEAD_SECONDS = 5.0
"""Head start of the large picture, in which it is read and decoded."""

IDLE_FACTOR = 1.5
"""A server is done with the large picture if a thumbnail takes less than this many times the usual latency."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--width", type=int, default=8660, help="of the large picture")
    parser.add_argument("--height", type=int, default=5774, help="of the large picture")
    parser.add_argument("--bulk", action="store_true", help="send the large picture with ?priority=bulk")
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS, help="that send thumbnails in a closed loop")
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements without and with the large picture in turn")


def run(chosen: Namespace) -> Tables:
    """Measure alternately without a large picture and with one always in flight."""
    if chosen.quick:
        chosen.width, chosen.height, chosen.seconds, chosen.rounds = 2000, 1500, 3, 1
    with tempfile.TemporaryDirectory() as folder:
        store = networks.publish(Path(folder) / "store")
        bodies = Path(folder) / "bodies"
        bodies.mkdir()
        with servers.running(servers.ours(store.root)) as server:
            rows = list(_measure(server, bodies, chosen))
    size = f"{chosen.width}×{chosen.height}"
    return {f"Thumbnails of {THUMBNAIL}×{THUMBNAIL} with and without {size} in flight": rows}


def _measure(server: Server, bodies: Path, chosen: Namespace) -> Iterator[Row]:
    thumbnails = photos.uniform(THUMBNAIL, 8)
    small = tuple(servers.request(server.spec, thumbnail, bodies) for thumbnail in thumbnails)
    picture = photos.jpeg(photos.large(chosen.width, chosen.height))
    large = servers.request(server.spec, picture, bodies)
    large = replace(large, path=f"{large.path}&priority=bulk" if chosen.bulk else large.path)
    background_plan = Plan(server.port, (large,), clients=1, seconds=3600, timeout=600)
    plan = Plan(server.port, small, clients=1, seconds=chosen.seconds)
    load.run_plan(replace(plan, count=50))
    for clients in chosen.clients:
        yield from _alternate(server, replace(plan, clients=clients), background_plan, chosen.rounds)


def _alternate(server: Server, plan: Plan, background_plan: Plan, rounds: int) -> Iterator[Row]:
    found: dict[bool, list[Outcome]] = defaultdict(list)
    painted = 0
    for _ in range(rounds):
        found[False].append(load.run_plan(plan))
        with load.running_plan(background_plan) as process:
            time.sleep(LEAD_SECONDS)
            found[True].append(load.run_plan(plan))
            background = load.wait_for_outcome(process, stop=True)
        _check_all_accepted(background)
        painted += len(background.answers)
        _wait_until_idle(server, plan, stats.median(found[False][-1].seconds()))
    without, beside = (_seconds(found[loaded]) for loaded in (False, True))
    for loaded, seconds in ((False, without), (True, beside)):
        yield {
            "thumbnail clients": plan.clients,
            "large picture": loaded,
            "thumbnails": len(seconds),
            "thumbnails/s": stats.median([outcome.rate for outcome in found[loaded]]),
            **stats.in_milliseconds(seconds),
            "p50 × without": stats.median(seconds) / stats.median(without),
            "p99 × without": stats.percentile(seconds, 0.99) / stats.percentile(without, 0.99),
            "large ones painted": painted if loaded else 0,
            "errors": sum(len(outcome.answers) - len(outcome.of("ok")) for outcome in found[loaded]),
        }


def _seconds(outcomes: Sequence[Outcome]) -> list[float]:
    return [second for outcome in outcomes for second in outcome.seconds()]


def _check_all_accepted(background: Outcome) -> None:
    """Raise BenchmarkError if a large picture was refused or failed, since then none was in flight."""
    for answer in background.answers:
        if answer.kind != "ok":
            raise BenchmarkError(f"the large picture was answered with {answer.status} ({answer.kind})")


def _wait_until_idle(server: Server, plan: Plan, usual: float) -> None:
    """Wait until a thumbnail takes about `usual` seconds again: until the abandoned large picture is dropped."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        began = time.monotonic()
        server.post(plan.requests[0])
        if time.monotonic() - began < IDLE_FACTOR * usual:
            return
