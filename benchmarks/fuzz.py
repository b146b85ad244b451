"""`fuzz`: thousands of broken and hostile files through both endpoints: no failure of the service, no late answer."""

import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from benchmarks import networks, servers, stats
from benchmarks.errors import Incomplete
from benchmarks.hostile_files import FILES, scan_bomb
from benchmarks.mutations import mutate, sources
from benchmarks.report import Row, Tables
from benchmarks.servers import Server

LATE_SECONDS = 10.0
"""After which an answer counts as late."""

PAINTED_SIDE = 1000
"""Of the JPEG of many scans, which can be decoded: painting the 9 megapixels of `hostile` takes a time of its own."""

ANSWER_SECONDS = 120.0
"""For so long a client waits for an answer."""

FAILURES = (0, HTTPStatus.INTERNAL_SERVER_ERROR)
"""Statuses that fail the run; 0 is none at all."""

MEMORY_SECONDS = 2.0
"""Between two looks at the memory of the service."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--files", type=int, default=10_000, help="how many are sent to each endpoint")
    parser.add_argument(
        "--clients", type=int, default=4, help="that send them, each on one connection as far as it lasts"
    )
    parser.add_argument("--seed", type=int, default=0, help="other seeds make other files")


@dataclass
class Findings:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """The files, by number, that were answered with 500, late, or not at all."""


def run(chosen: Namespace) -> Tables:
    """Send every file to both endpoints. Raises Incomplete where one was answered with 500, or not at all."""
    if chosen.quick:
        chosen.files = 100
    with tempfile.TemporaryDirectory() as folder:
        store = networks.publish(Path(folder) / "store")
        with servers.running(servers.ours(store.root)) as server:
            paths = (server.spec.path, "/v1/upscale/2")
            found = {path: _send_all(server, path, chosen) for path in paths}
    rows = [row for row, _ in found.values()]
    tables: Tables = {f"{chosen.files} hostile files to each endpoint (seed {chosen.seed})": rows}
    if failed := sum(_failed(statuses) for _, statuses in found.values()):
        raise Incomplete(f"{failed} files were answered with 500, or not at all", tables)
    return tables


def _failed(statuses: Counter[int]) -> int:
    return sum(statuses[status] for status in FAILURES)


def _send_all(server: Server, path: str, chosen: Namespace) -> tuple[Row, Counter[int]]:
    """The row of an endpoint, and how often it answered with each status."""
    waiting: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
    for numbered in enumerate(_files(chosen.files, chosen.seed)):
        waiting.put(numbered)
    findings = [Findings() for _ in range(chosen.clients)]
    clients = [threading.Thread(target=_client, args=(server.port, path, waiting, found)) for found in findings]
    before, peak = server.memory().pss, 0.0
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        peak = max(peak, server.memory().pss)
        time.sleep(MEMORY_SECONDS)
    return _summarize(path, findings, before, peak), _statuses(findings)


def _files(count: int, seed: int) -> Iterator[bytes]:
    """Mutated files, with the bombs of `hostile_files` among them."""
    valid, rng = sources(), np.random.default_rng(seed)
    others = [make() for name, make in FILES.items() if name != "scans"]
    bombs = [scan_bomb(side=PAINTED_SIDE), *others]
    for number in range(count):
        if number % 500 < len(bombs) and number >= 500:
            yield bombs[number % 500]
        else:
            yield mutate(valid[int(rng.integers(len(valid)))], valid, rng)


def _client(port: int, path: str, waiting: "SimpleQueue[tuple[int, bytes]]", found: Findings) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    while True:
        try:
            number, content = waiting.get_nowait()
        except Empty:
            break
        began = time.monotonic()
        try:
            connection.request("POST", path, content)
            answer = connection.getresponse()
            text, status = answer.read()[:300], answer.status
        except (OSError, HTTPException) as error:
            connection.close()
            text, status = repr(error).encode(), 0
        seconds = time.monotonic() - began
        found.statuses[status] += 1
        found.seconds.append(seconds)
        if status in FAILURES or seconds > LATE_SECONDS:
            found.failures.append(f"file {number}: {status} after {seconds:.1f} s: {text.decode(errors='replace')}")
    connection.close()


def _statuses(findings: Sequence[Findings]) -> Counter[int]:
    return sum((found.statuses for found in findings), Counter())


def _summarize(path: str, findings: Sequence[Findings], before: float, peak: float) -> Row:
    statuses = _statuses(findings)
    seconds = [second for found in findings for second in found.seconds]
    failures = [failure for found in findings for failure in found.failures]
    for failure in failures:
        print(failure, flush=True)
    return {
        "path": path,
        "answers": ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items())),
        "500, late or none": len(failures),
        "p50 ms": stats.median(seconds) * 1e3,
        "p99 ms": stats.percentile(seconds, 0.99) * 1e3,
        "longest s": max(seconds),
        "PSS before MB": before,
        "largest PSS MB": peak,
    }
