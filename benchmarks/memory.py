"""`memory`: resident memory of the idle service with all shipped networks, and its peak for very large images."""

import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import networks, photos, servers
from benchmarks.processes import Memory
from benchmarks.report import Row, Tables
from benchmarks.servers import ServerSpec
from model_store import SHIPPED_STORE, ModelStore

SETTLE_SECONDS = 2.0
"""Wait after the start, until the memory that only the start needed is freed."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))


def run(chosen: Namespace) -> Tables:
    """Measure each part with new servers; one table each."""
    with tempfile.TemporaryDirectory() as folder:
        store = networks.publish(Path(folder) / "store")
        return {part: list(PARTS[part](store, chosen)) for part in chosen.parts}


def _idle(_store: ModelStore, _chosen: Namespace) -> Iterator[Row]:
    """Memory with the shipped networks: after the start, and after one photo, when torch is fully initialised."""
    style = next(name for name in ModelStore(SHIPPED_STORE).names() if name != "x4")
    ours = replace(servers.ours(SHIPPED_STORE), path=f"/v1/stylize/{style}{servers.NATIVE}")
    naive = replace(servers.naive(SHIPPED_STORE), path=f"/stylize/{style}")
    found = {spec.name: _idle_memory(spec) for spec in (ours, naive)}
    for name, (started, used) in found.items():
        yield {
            "server": name,
            "idle RSS MB": started.rss,
            "idle PSS MB": started.pss,
            "RSS MB after one photo": used.rss,
            "idle RSS over naive's MB": started.rss - found["naive"][0].rss,
            "RSS after one photo over naive's MB": used.rss - found["naive"][1].rss,
        }


def _idle_memory(spec: ServerSpec) -> tuple[Memory, Memory]:
    """The memory of a server after its start, and after one photo."""
    with servers.running(spec) as server, tempfile.TemporaryDirectory() as bodies:
        time.sleep(SETTLE_SECONDS)
        started = server.memory()
        server.post(servers.request(spec, photos.jpeg(photos.photo(512, 512)), Path(bodies)))
        time.sleep(SETTLE_SECONDS)
        return started, server.memory()


def _style(store: ModelStore, chosen: Namespace) -> Iterator[Row]:
    """Peak memory when 100 megapixels are stylized."""
    width, height = (2000, 1500) if chosen.quick else (12_000, 8_333)
    spec = servers.ours(store.root)
    yield _peak(spec, width, height, scale=1)


def _upscale(store: ModelStore, chosen: Namespace) -> Iterator[Row]:
    """Peak memory when 10 megapixels are enlarged to 160."""
    width, height = (400, 300) if chosen.quick else (3_872, 2_582)
    spec = replace(servers.ours(store.root), path="/v1/upscale/4")
    yield _peak(spec, width, height, scale=4)


def _peak(spec: ServerSpec, width: int, height: int, scale: int) -> Row:
    photo = photos.jpeg(photos.large(width, height))
    with servers.running(spec) as server, tempfile.TemporaryDirectory() as bodies:
        time.sleep(SETTLE_SECONDS)
        idle = server.memory()
        began = time.monotonic()
        answer = server.post(servers.request(spec, photo, Path(bodies)))
        seconds, peak = time.monotonic() - began, server.memory().peak
    pixels = width * height * (1 + scale**2) * 3 / 1e6
    return {
        "picture": f"{width}×{height} × {scale}",
        "seconds": seconds,
        "Mpx/s in": width * height / 1e6 / seconds,
        "idle RSS MB": idle.rss,
        "peak RSS MB": peak,
        "over idle MB": peak - idle.rss,
        "decoded input and output MB": pixels,
        "answer MB": len(answer) / 1e6,
    }


PARTS: dict[str, Callable[[ModelStore, Namespace], Iterator[Row]]] = {
    "idle": _idle,
    "style": _style,
    "upscale": _upscale,
}
