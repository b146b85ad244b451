"""`hostile`: latency of other clients' thumbnails, and of `/livez`, while files arrive that are costly to decode."""

import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from benchmarks import load, networks, photos, servers, stats
from benchmarks.hostile_files import FILES
from benchmarks.load import Answer, Plan
from benchmarks.report import Row, Tables, Value
from benchmarks.servers import Server

THUMBNAIL = 256
LIVEZ_PERIOD = 0.05
"""Seconds between two requests to `/livez`."""

QUERY = "?size=64&output_size=64"
"""So that what can be decoded costs the device nothing; `interference` has what a large picture costs others there."""

LEAD_SECONDS = 2.0
"""Head start of the hostile files."""


class Probe(NamedTuple):
    """A request to `/livez`."""

    seconds: float
    live: bool


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--files", nargs="+", choices=tuple(FILES), default=tuple(FILES), help="what arrives")
    parser.add_argument("--attackers", type=int, default=2, help="clients that send them in a closed loop")
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements without and with each file in turn")


def run(chosen: Namespace) -> Tables:
    """Measure alternately without hostile files and with one kind of them always in flight."""
    if chosen.quick:
        chosen.seconds, chosen.rounds = 3, 1
    with tempfile.TemporaryDirectory() as folder:
        store = networks.publish(Path(folder) / "store")
        bodies = Path(folder) / "bodies"
        bodies.mkdir()
        with servers.running(servers.ours(store.root)) as server:
            rows = [_measure(server, bodies, name, chosen) for name in chosen.files]
    return {f"Thumbnails of {THUMBNAIL}×{THUMBNAIL} while {chosen.attackers} clients send hostile files": rows}


def _measure(server: Server, bodies: Path, name: str, chosen: Namespace) -> Row:
    content = FILES[name]()
    small = tuple(servers.request(server.spec, photo, bodies) for photo in photos.uniform(THUMBNAIL, 8))
    sent = servers.request(server.spec, content, bodies)
    hostile = replace(sent, path=sent.path.partition("?")[0] + QUERY, headers={"X-Request-Timeout": "60"})
    plan = Plan(server.port, small, clients=1, seconds=chosen.seconds)
    attack = Plan(server.port, (hostile,), chosen.attackers, 3600, timeout=120, honour_retry_after=False)
    load.run_plan(replace(plan, count=50))
    without: list[Answer] = []
    beside: list[Answer] = []
    livez: list[Probe] = []
    answers: list[Answer] = []
    for _ in range(chosen.rounds):
        without += load.run_plan(plan).answers
        with load.running_plan(attack) as process:
            time.sleep(LEAD_SECONDS)
            with _probing(server, livez):
                beside += load.run_plan(plan).answers
            answers += load.wait_for_outcome(process, stop=True).answers
    return {
        "file": name,
        "MB": len(content) / 1e6,
        "answered with": ", ".join(sorted({str(answer.status) for answer in answers})),
        **_thumbnails(without, beside),
        **_livez(livez),
    }


def _thumbnails(without: Sequence[Answer], beside: Sequence[Answer]) -> dict[str, Value]:
    """Times are those of pictures; what else came of the others' thumbnails are errors."""
    alone, attacked = ([each.seconds for each in found if each.kind == "ok"] for found in (without, beside))
    return {
        "p50 without ms": stats.median(alone) * 1e3,
        "p99 without ms": stats.percentile(alone, 0.99) * 1e3,
        "p50 × without": stats.median(attacked) / stats.median(alone),
        "p99 × without": stats.percentile(attacked, 0.99) / stats.percentile(alone, 0.99),
        "errors without": len(without) - len(alone),
        "errors": len(beside) - len(attacked),
    }


def _livez(probes: Sequence[Probe]) -> dict[str, Value]:
    """A probe that was not answered with 200 counts with the time after which that was known."""
    seconds = [probe.seconds for probe in probes]
    return {
        "/livez p99 ms": stats.percentile(seconds, 0.99) * 1e3,
        "/livez longest ms": stats.percentile(seconds, 1.0) * 1e3,
        "/livez failed": sum(not probe.live for probe in probes),
    }


@contextmanager
def _probing(server: Server, probes: list[Probe]) -> Iterator[None]:
    """Append what comes of `/livez`, again and again, for the length of the block."""
    done = threading.Event()
    thread = threading.Thread(target=_probe, args=(server, probes, done))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _probe(server: Server, probes: list[Probe], done: threading.Event) -> None:
    while not done.wait(LIVEZ_PERIOD):
        began = time.monotonic()
        live = _is_live(server)
        probes.append(Probe(time.monotonic() - began, live))


def _is_live(server: Server) -> bool:
    try:
        return server.get("/livez")[0] == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
