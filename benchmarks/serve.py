"""`serve`: whole services under closed-loop load over HTTP, compared with the floor of the cost of their work."""

import io
import itertools
import math
import tempfile
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import load, networks, photos, servers, stats
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Floor, floor
from benchmarks.load import Outcome, Plan
from benchmarks.processes import BackgroundLoad
from benchmarks.report import Row, Tables
from benchmarks.servers import Server, ServerSpec
from model_store import ModelStore, Network
from model_store.processors import available_cpus

LEVELS = (1, 4, 16, 64)
LOADS = ("uniform", "mixed")
NETWORKS: Mapping[str, Callable[[], Network]] = {
    "paper": networks.style,
    "pointwise": partial(networks.style, networks.POINTWISE),
    "shipped": networks.shipped_style,
}

STAGES = ("read", "decode", "queue", "infer", "encode")
STAGE_SERIES = "pastiche_stage_duration_seconds"

SAME_PICTURE = 30.0
"""PSNR in dB above which answers of two servers show the same picture, in spite of bf16 and JPEG compression."""

MIXED_SECONDS = 240.0
"""Longest measurement with mixed photos, which otherwise ends after the last photo."""

Target = Callable[[int, float, int | None], Outcome]
"""Runs a load, given the number of clients, the seconds, and the number of requests or None."""

Outcomes = Mapping[int, Mapping[str, Sequence[Outcome]]]
"""By concurrency and by target, one for each round."""


@dataclass(frozen=True)
class Photos:
    """The photos of a load."""

    files: list[bytes]
    whole_turns: bool

    def count(self, clients: int) -> int | None:
        """How many photos are sent; None for as many as the time allows.

        With `whole_turns` each photo is sent equally often, so that every server has the same work.
        """
        return len(self.files) * (1 + clients // 32) if self.whole_turns else None

    def megapixels(self, outcome: Outcome) -> float:
        """Megapixels of all stylized photos."""
        sizes = [Image.open(io.BytesIO(file)).size for file in self.files]
        return sum(math.prod(sizes[answer.request]) for answer in outcome.of("ok")) / 1e6


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=LOADS, help="512×512, or 256–1536 px mixed")
    parser.add_argument(
        "--network",
        choices=tuple(NETWORKS),
        default="paper",
        help="pointwise: a 1×1 convolution, so that codecs decide; shipped: great-wave, with thumbnail normalisation",
    )
    parser.add_argument("--levels", nargs="+", type=int, default=LEVELS, help="closed-loop clients")
    parser.add_argument(
        "--servers", nargs="+", choices=tuple(servers.SERVER_SPECS), default=("pastiche", "naive", "litserve")
    )
    parser.add_argument(
        "--processes", nargs="*", type=int, default=(), help="also Pastiche in so many serving processes, each in turn"
    )
    parser.add_argument("--seconds", type=float, default=12, help="of each measurement with uniform photos")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turn with the others")


def run(chosen: Namespace) -> Tables:
    """Measure each load; a table for each concurrency, and one of memory."""
    if chosen.quick:
        chosen.levels, chosen.seconds, chosen.rounds = (1, 4), 2, 1
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = networks.publish(Path(folder) / "store", NETWORKS[chosen.network])
        for name in chosen.loads:
            tables |= _measure(name, _photos(name, quick=chosen.quick), store, chosen, Path(folder))
    return tables


def _photos(name: str, *, quick: bool) -> Photos:
    if name == "uniform":
        return Photos(photos.uniform(), whole_turns=False)
    return Photos(photos.mixed(4, largest=768) if quick else photos.mixed(), whole_turns=True)


def _measure(name: str, sent: Photos, store: ModelStore, chosen: Namespace, folder: Path) -> dict[str, list[Row]]:
    specs = [servers.SERVER_SPECS[name](store.root) for name in chosen.servers]
    specs += [servers.ours_in(count, store.root) for count in chosen.processes]
    with _targets(sent, store, specs, folder) as (targets, running):
        outcomes = _outcomes(name, sent, targets, chosen)
        memory = [_memory(server) for server in running.values()]
        stages = [row for server in running.values() if (row := _stages(server))]
    tables = {f"{name}, concurrency {clients}": list(_rows(sent, found)) for clients, found in outcomes.items()}
    return tables | {f"{name}, memory afterwards": memory, f"{name}, where the time of a request goes": stages}


def _memory(server: Server) -> Row:
    found = server.memory()
    return {"server": server.spec.name, "RSS MB": found.rss, "PSS MB": found.pss, "peak RSS MB": found.peak}


def _stages(server: Server) -> Row | None:
    """Mean milliseconds of each stage over all requests; None if the server does not report them.

    The codec's share is that of decoding and encoding in the sum of decoding, inference and encoding.
    """
    with server.resumed():
        found = {stage: _milliseconds(server, stage) for stage in STAGES}
    codec, work = found["decode"] + found["encode"], found["decode"] + found["infer"] + found["encode"]
    return {"server": server.spec.name, **found, "codec's share": codec / work} if work else None


def _milliseconds(server: Server, stage: str) -> float:
    total, count = (server.metric(f"{STAGE_SERIES}_{part}", f'stage="{stage}"') for part in ("sum", "count"))
    return 1000 * total / count if total and count else 0.0


@contextmanager
def _targets(
    sent: Photos, store: ModelStore, specs: Sequence[ServerSpec], folder: Path
) -> Iterator[tuple[dict[str, Target], dict[str, Server]]]:
    """Start the floors and the servers and warm them up with every photo. Yields all targets, and the servers alone."""
    files = [_write(folder / f"photo-{number}.jpg", file) for number, file in enumerate(sent.files)]
    targets: dict[str, Target] = {}
    with ExitStack() as stack:
        for processes, threads in dict.fromkeys([(1, _cpus()), (_cpus(), 1)]):
            bare = stack.enter_context(floor(processes, threads, store.root, networks.STYLE_NAME, files))
            targets[f"floor {processes}×{threads}"] = _floor_target(bare)
        running = stack.enter_context(servers.all_running(specs))
        with tempfile.TemporaryDirectory(dir=folder) as bodies:
            for name, server in running.items():
                targets[name] = _server_target(server, sent, Path(bodies))
            _check_same_pictures(running, sent, Path(bodies))
            yield targets, running


def _floor_target(bare: Floor) -> Target:
    return lambda _clients, seconds, count: bare.run(seconds, count)


def _server_target(server: Server, sent: Photos, folder: Path) -> Target:
    requests = tuple(servers.request(server.spec, photo, folder) for photo in sent.files)

    def run_load(clients: int, seconds: float, count: int | None) -> Outcome:
        with server.resumed():
            found = load.run_plan(Plan(server.port, requests, clients, seconds, count))
            if found.of("timeout"):
                server.post(requests[0])  # returns when the server has finished the requests of clients that left
            return found

    with server.resumed():
        for request in requests:
            server.post(request)
    return run_load


def _check_same_pictures(running: Mapping[str, Server], sent: Photos, folder: Path) -> None:
    """Raise BenchmarkError if two servers answer the same photo with different pictures."""
    pictures = {name: _picture(server, sent.files[0], folder) for name, server in running.items()}
    for (one, first), (other, second) in itertools.pairwise(pictures.items()):
        agreement = 20 * math.log10(255) - 10 * math.log10(max(1e-9, float(np.square(first - second).mean())))
        if agreement < SAME_PICTURE:
            raise BenchmarkError(f"{one} and {other} answer different pictures: {agreement:.1f} dB")


def _picture(server: Server, photo: bytes, folder: Path) -> NDArray[np.float32]:
    with server.resumed():
        answer = server.post(servers.request(server.spec, photo, folder))
    return np.asarray(Image.open(io.BytesIO(answer)), np.float32)


def _outcomes(name: str, sent: Photos, targets: Mapping[str, Target], chosen: Namespace) -> Outcomes:
    """In every round and at every concurrency, measure all targets in turn. The first target changes by round."""
    found: dict[int, dict[str, list[Outcome]]] = {clients: defaultdict(list) for clients in chosen.levels}
    seconds = MIXED_SECONDS if sent.whole_turns else chosen.seconds
    for turn, clients in itertools.product(range(chosen.rounds), chosen.levels):
        first = turn % len(targets)
        for target_name in [*targets][first:] + [*targets][:first]:
            background = BackgroundLoad()
            outcome = targets[target_name](clients, seconds, sent.count(clients))
            found[clients][target_name].append(replace(outcome, others=background.cpus()))
            print(f"{name}, {clients} clients, round {turn + 1}: {target_name} {outcome.rate:.2f}/s", flush=True)
    return found


def _rows(sent: Photos, outcomes: Mapping[str, Sequence[Outcome]]) -> Iterator[Row]:
    """A row for each target, the fastest first. Ratios are medians over the rounds.

    `× floor` is in requests/s of the floor with the most; `p50 × floor` is in latency of the floor with the least.
    """
    rates = {name: [outcome.rate for outcome in found] for name, found in outcomes.items()}
    floors = [name for name in rates if name.startswith("floor")]
    best = max(floors, key=lambda name: stats.median(rates[name]))
    fastest = min(stats.median(_seconds(outcomes[name])) for name in floors)
    for name in sorted(rates, key=lambda name: -stats.median(rates[name])):
        found, seconds = outcomes[name], _seconds(outcomes[name])
        yield {
            "server": name,
            "requests/s": stats.median(rates[name]),
            "Mpx/s": stats.median([sent.megapixels(outcome) / outcome.elapsed for outcome in found]),
            **stats.in_milliseconds(seconds),
            "errors": sum(len(outcome.answers) - len(outcome.of("ok")) for outcome in found),
            "× floor": _ratio(rates, name, best),
            **{f"× {other}": _ratio(rates, name, other) for other in rates if other not in floors},
            "p50 × floor": stats.median(seconds) / fastest,
            "others' CPUs": max(outcome.others for outcome in found),
        }


def _seconds(outcomes: Sequence[Outcome]) -> list[float]:
    return [second for outcome in outcomes for second in outcome.seconds()]


def _ratio(rates: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    return stats.median([one / two for one, two in zip(rates[name], rates[other], strict=True) if two])


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _cpus() -> int:
    return available_cpus()
