"""`overload`: many more clients than a server can satisfy, who leave after a few seconds and come again."""

import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import load, networks, photos, servers, stats
from benchmarks.load import Outcome, Plan
from benchmarks.report import Row, Tables
from benchmarks.servers import DEADLINE, PATIENT, Recipe, Server

CAPACITY_CLIENTS, CAPACITY_SECONDS = 8, 15
ALONE = 5
"""Requests, one after another, whose median latency is that of a request alone."""

BUSY, WASTED = "pastiche_device_busy_seconds_total", "pastiche_device_wasted_seconds_total"


@dataclass(frozen=True)
class Mode:
    """How the clients behave: whether they wait for Retry-After, and whether they say when they will leave."""

    honour_retry_after: bool
    say_timeout: bool


MODES = {
    "honouring Retry-After": Mode(honour_retry_after=True, say_timeout=True),
    "retrying at once": Mode(honour_retry_after=False, say_timeout=True),
    "leaving without a word": Mode(honour_retry_after=True, say_timeout=False),
}


@dataclass(frozen=True)
class Device:
    """What the device has done since the server began, in seconds; None where the server does not tell."""

    busy: float | None
    wasted: float | None

    @classmethod
    def of(cls, server: Server) -> "Device":
        """As the server's metrics have it."""
        return cls(server.metric(BUSY), server.metric(WASTED))

    def since(self, before: "Device") -> "Device":
        """The difference."""
        return Device(_difference(self.busy, before.busy), _difference(self.wasted, before.wasted))


def declare(parser: ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--modes", nargs="+", choices=tuple(MODES), default=tuple(MODES), help="what clients do")
    parser.add_argument("--servers", nargs="+", choices=tuple(servers.CHOICES), default=("pastiche",))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=5, help="seconds after which a client leaves")
    parser.add_argument("--seconds", type=float, default=60, help="of the storm")


def run(chosen: Namespace) -> Tables:
    """One storm for each server and mode, each on a server that has just been started."""
    if chosen.quick:
        chosen.seconds, chosen.timeout = 4, 1
    with tempfile.TemporaryDirectory() as folder:
        store = networks.publish(Path(folder) / "store")
        recipes = [servers.CHOICES[name](store.root) for name in chosen.servers]
        rows = list(_storms(recipes, chosen))
    return {f"{chosen.clients} clients, {chosen.timeout:g} s timeout, {chosen.seconds:g} s": rows}


def _storms(recipes: list[Recipe], chosen: Namespace) -> Iterator[Row]:
    for recipe in recipes:
        if recipe.missing:
            print(recipe.missing, flush=True)
            continue
        for mode in chosen.modes:
            with servers.running(recipe) as server, tempfile.TemporaryDirectory() as bodies:
                yield {"server": recipe.name, "clients": mode, **_storm(server, MODES[mode], chosen, Path(bodies))}


def _storm(server: Server, mode: Mode, chosen: Namespace, bodies: Path) -> Row:
    """Alone, at capacity, in the storm, and right after it."""
    plan = _plan(server, PATIENT, bodies)
    load.drive(replace(plan, count=ALONE))
    alone = stats.middle(load.drive(replace(plan, count=ALONE)).seconds())
    began = Device.of(server)
    capacity = load.drive(replace(plan, clients=CAPACITY_CLIENTS, seconds=2 if chosen.quick else CAPACITY_SECONDS))
    calm, calm_cpu = Device.of(server).since(began), server.cpu_seconds()
    storm = load.drive(_stormy(server, mode, chosen, bodies))
    after = _seconds_of_one(server, plan)
    stormy = Device.of(server).since(began)
    used = server.cpu_seconds() - calm_cpu
    return {
        "capacity /s": capacity.rate,
        **_goodput(storm, capacity, chosen.seconds),
        **_wasted(stormy.since(calm), calm, len(storm.of("ok")) + 1, len(capacity.of("ok"))),
        **_refusals(storm),
        "server's CPUs": used / (chosen.seconds + after),
        "clients' CPUs": storm.cpu / chosen.seconds,
        "alone ms": alone * 1000,
        "first after ms": after * 1000,
    }


def _plan(server: Server, headers: Mapping[str, str], bodies: Path) -> Plan:
    """One client in no hurry, with uniform photos."""
    sent = tuple(servers.request(server.recipe, photo, bodies, headers) for photo in photos.uniform())
    return Plan(server.port, sent, clients=1, seconds=600)


def _stormy(server: Server, mode: Mode, chosen: Namespace, bodies: Path) -> Plan:
    said = {DEADLINE: f"{chosen.timeout:g}"} if mode.say_timeout else {}
    return replace(
        _plan(server, said, bodies),
        clients=chosen.clients,
        seconds=chosen.seconds,
        timeout=chosen.timeout,
        honour_retry_after=mode.honour_retry_after,
        cut=True,
    )


def _seconds_of_one(server: Server, plan: Plan) -> float:
    began = time.monotonic()
    server.post(plan.requests[0])
    return time.monotonic() - began


def _goodput(storm: Outcome, capacity: Outcome, seconds: float) -> dict[str, float]:
    """Pictures that a client waited for; the last ones, which the end of the storm cut off, are not among them."""
    goodput = len(storm.of("ok")) / seconds
    return {"goodput /s": goodput, "of capacity": goodput / capacity.rate, **stats.in_milliseconds(storm.seconds())}


def _wasted(stormy: Device, calm: Device, painted: int, painted_in_calm: int) -> dict[str, float | None]:
    """Device time for answers that nobody received, as a share: by the server's own count, and by ours.

    Ours takes what a picture cost at capacity for what each of the storm's pictures cost.
    """
    if not stormy.busy or not calm.busy or not painted_in_calm:
        return {"wasted": None, "wasted by our count": None}
    own = None if stormy.wasted is None else stormy.wasted / stormy.busy
    return {"wasted": own, "wasted by our count": 1 - painted * calm.busy / painted_in_calm / stormy.busy}


def _refusals(storm: Outcome) -> dict[str, float]:
    refused = storm.seconds("refused")
    return {
        "refused": len(refused),
        "refusal p50 ms": 1000 * stats.middle(refused),
        "refusal p95 ms": 1000 * stats.percentile(refused, 0.95),
        "timeouts": len(storm.of("timeout")),
        "expired": len(storm.of("expired")),
        "failed": len(storm.of("failed")),
    }


def _difference(after: float | None, before: float | None) -> float | None:
    """None where there was nothing after; what was not there before was 0."""
    return None if after is None else after - (before or 0.0)
