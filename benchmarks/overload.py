"""`overload`: many more clients than a server can satisfy, which leave after a few seconds and return."""

import math
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import load, networks, photos, servers, stats
from benchmarks.load import Outcome, Plan
from benchmarks.report import Row, Tables
from benchmarks.servers import LONG_TIMEOUT, TIMEOUT_HEADER, Server, ServerSpec

ALONE_REQUESTS = 5
"""Sequential requests whose median is the latency without load."""

BUSY, WASTED = "pastiche_device_busy_seconds_total", "pastiche_device_wasted_seconds_total"


@dataclass(frozen=True)
class Mode:
    """How the clients behave: whether they wait for Retry-After, and whether they send their timeout."""

    honour_retry_after: bool
    say_timeout: bool


MODES = {
    "honouring Retry-After": Mode(honour_retry_after=True, say_timeout=True),
    "retrying at once": Mode(honour_retry_after=False, say_timeout=True),
    "leaving without a word": Mode(honour_retry_after=True, say_timeout=False),
}


@dataclass(frozen=True)
class DeviceTime:
    """Busy and wasted seconds of the device since the server started; None if the server does not report them."""

    busy: float | None
    wasted: float | None

    @classmethod
    def of(cls, server: Server) -> "DeviceTime":
        """Read the metrics of a server."""
        return cls(server.metric(BUSY), server.metric(WASTED))

    def since(self, before: "DeviceTime") -> "DeviceTime":
        return DeviceTime(_difference(self.busy, before.busy), _difference(self.wasted, before.wasted))


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--modes", nargs="+", choices=tuple(MODES), default=tuple(MODES), help="what clients do")
    parser.add_argument("--servers", nargs="+", choices=tuple(servers.SERVER_SPECS), default=("pastiche",))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=5, help="seconds after which a client leaves")
    parser.add_argument("--seconds", type=float, default=60, help="of the overload")
    parser.add_argument("--capacity-clients", type=int, default=8, help="whose rate just before is the capacity")
    parser.add_argument("--capacity-seconds", type=float, default=15, help="for which it is measured")


def run(chosen: Namespace) -> Tables:
    """Overload each server in each mode, with a new server process every time."""
    if chosen.quick:
        chosen.seconds, chosen.timeout, chosen.capacity_seconds = 4, 1, 2
    with tempfile.TemporaryDirectory() as folder:
        store = networks.publish(Path(folder) / "store")
        specs = [servers.SERVER_SPECS[name](store.root) for name in chosen.servers]
        rows = list(_measure_all(specs, chosen))
    return {f"{chosen.clients} clients, {chosen.timeout:g} s timeout, {chosen.seconds:g} s": rows}


def _measure_all(specs: list[ServerSpec], chosen: Namespace) -> Iterator[Row]:
    for spec in specs:
        if spec.missing:
            print(spec.missing, flush=True)
            continue
        for mode in chosen.modes:
            with servers.running(spec) as server, tempfile.TemporaryDirectory() as bodies:
                yield {"server": spec.name, "clients": mode, **_measure(server, MODES[mode], chosen, Path(bodies))}


def _measure(server: Server, mode: Mode, chosen: Namespace, bodies: Path) -> Row:
    """Measure a server without load, at capacity, during the overload and right after it."""
    plan = _plan(server, LONG_TIMEOUT, bodies)
    load.run_plan(replace(plan, count=ALONE_REQUESTS))
    alone = stats.median(load.run_plan(replace(plan, count=ALONE_REQUESTS)).seconds())
    began = DeviceTime.of(server)
    capacity = load.run_plan(replace(plan, clients=chosen.capacity_clients, seconds=chosen.capacity_seconds))
    calm, calm_cpu = DeviceTime.of(server).since(began), server.cpu_seconds()
    overload = load.run_plan(_overload_plan(server, mode, chosen, bodies))
    _check_overloaded(overload, chosen.clients)
    after = _time_single_request(server, plan)
    device_total = DeviceTime.of(server).since(began)
    used = server.cpu_seconds() - calm_cpu
    return {
        "capacity /s": capacity.rate,
        **_goodput(overload, capacity, chosen.seconds),
        **_wasted_share(device_total.since(calm), calm, len(overload.of("ok")) + 1, len(capacity.of("ok"))),
        **_refusals(overload),
        "server's CPUs": used / (chosen.seconds + after),
        "clients' CPUs": overload.cpu / chosen.seconds,
        "alone ms": alone * 1000,
        "first after ms": after * 1000,
    }


def _check_overloaded(overload: Outcome, clients: int) -> None:
    """Print that the figures are those of no overload, where every request was answered."""
    if len(overload.of("ok")) == len(overload.answers):
        print(f"{clients} clients are no overload: nobody was refused or left. More --clients, or a lower --timeout?")


def _plan(server: Server, headers: Mapping[str, str], bodies: Path) -> Plan:
    """A plan of one client with uniform photos."""
    sent = tuple(servers.request(server.spec, photo, bodies, headers) for photo in photos.uniform())
    return Plan(server.port, sent, clients=1, seconds=600)


def _overload_plan(server: Server, mode: Mode, chosen: Namespace, bodies: Path) -> Plan:
    headers = {TIMEOUT_HEADER: f"{chosen.timeout:g}"} if mode.say_timeout else {}
    return replace(
        _plan(server, headers, bodies),
        clients=chosen.clients,
        seconds=chosen.seconds,
        timeout=chosen.timeout,
        honour_retry_after=mode.honour_retry_after,
        abort_at_end=True,
    )


def _time_single_request(server: Server, plan: Plan) -> float:
    began = time.monotonic()
    server.post(plan.requests[0])
    return time.monotonic() - began


def _goodput(overload: Outcome, capacity: Outcome, seconds: float) -> dict[str, float]:
    """Pictures that a client received, per second. Requests aborted at the end of the overload do not count."""
    goodput = len(overload.of("ok")) / seconds
    share = goodput / capacity.rate if capacity.rate else math.nan
    return {"goodput /s": goodput, "of capacity": share, **stats.in_milliseconds(overload.seconds())}


def _wasted_share(
    device_total: DeviceTime, calm: DeviceTime, painted: int, painted_in_calm: int
) -> dict[str, float | None]:
    """Share of device time spent on answers that no client received: by the server's metric, and by an estimate.

    The estimate assumes that a picture costs as much during the overload as at capacity.
    """
    if not device_total.busy or not calm.busy or not painted_in_calm:
        return {"wasted": None, "wasted by our count": None}
    own = None if device_total.wasted is None else device_total.wasted / device_total.busy
    return {"wasted": own, "wasted by our count": 1 - painted * calm.busy / painted_in_calm / device_total.busy}


def _refusals(overload: Outcome) -> dict[str, float]:
    refused = overload.seconds("refused")
    return {
        "refused": len(refused),
        "refusal p50 ms": 1000 * stats.median(refused),
        "refusal p95 ms": 1000 * stats.percentile(refused, 0.95),
        "timeouts": len(overload.of("timeout")),
        "expired": len(overload.of("expired")),
        "failed": len(overload.of("failed")),
    }


def _difference(after: float | None, before: float | None) -> float | None:
    """None if `after` is; a missing `before` counts as 0."""
    return None if after is None else after - (before or 0.0)
