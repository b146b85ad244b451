"""The real service over real HTTP, on the smallest networks there are, for the length of a block."""

import atexit
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from model_store import Draft, Manifest, ModelStore, Provenance, TransformNetwork
from service.app import Service, build_service
from service.http.connection import ConnectionLimits
from service.http.load_shedding.load_shedder import PERIOD, LoadShedder
from service.http.load_shedding.refusal_cache import RefusalCache
from service.http.uvicorn_server import build_server
from service.imaging.codecs import Pixels
from service.imaging.workers.launcher import WorkerLauncher
from service.settings import Settings
from tests.networks import network

STYLE, UPSCALE_4 = "c3s1-4,d4,R4,u4,c3s1-3", "c3s1-4,u4,u4,c3s1-3"
"""What is served where a test does not say: every kind of layer, and little around a tile, for a short start."""

PATIENCE = 120.0
"""Seconds after which a test that waits for something gives up; nothing is measured with it."""

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Live:
    """A running service: its parts, for what cannot be seen from outside, and a client."""

    service: Service
    shedder: LoadShedder | None
    client: httpx.Client
    url: str

    def metric(self, name: str, **labels: str) -> float:
        """The value of a series as it is scraped, 0 where it is not there yet."""
        lines = self.client.get("/metrics").text.splitlines(keepends=True)
        families = text_string_to_metric_families("".join(line for line in lines if line.startswith(name)))
        samples = [sample for family in families for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def until(self, path: str, condition: Callable[[httpx.Response], bool]) -> httpx.Response:
        """The first answer at `path` for which the condition holds."""
        return wait_for(lambda: self.client.get(path), condition)


def wait_for(look: Callable[[], Seen], condition: Callable[[Seen], bool], patience: float = PATIENCE) -> Seen:
    """What `look` gives as soon as the condition holds for it; fails after `patience` seconds."""
    end, pause = time.monotonic() + patience, 0.005
    while not condition(seen := look()):
        assert time.monotonic() < end, f"not within {patience} s; last seen: {seen}"
        time.sleep(pause)
        pause = min(1.3 * pause, 0.1)
    return seen


class _LastingLauncher(WorkerLauncher):
    """A fork server that outlives the services which use it, since it takes a second to start."""

    def __init__(self) -> None:
        super().__init__()
        atexit.register(super().close)

    def close(self) -> None:
        """It ends with the test process."""


@cache
def worker_launcher() -> WorkerLauncher:
    """The fork server of all services of this test process."""
    return _LastingLauncher()


@contextmanager
def held(live: Live) -> Iterator[None]:
    """All lanes of the device are busy for the length of the block; requests wait meanwhile."""
    go_on = threading.Event()
    for runner in live.service.pool.runners:
        for _ in range(runner.lanes):
            runner.submit_operation(go_on.wait)
    try:
        yield
    finally:
        go_on.set()


def publish(
    root: Path,
    name: str = "wave",
    built: TransformNetwork | None = None,
    preview: bytes | None = None,
) -> Manifest:
    """Publish a narrow network, by default a style, as the next version of `name`."""
    made = built if built is not None else network(STYLE)
    task = "style" if made.scale == 1 else "super-resolution"
    return ModelStore(root).publish(made, Draft.model_validate({"name": name, "task": task}), preview)


def publish_upscaler(root: Path, name: str = "x4", seed: int = 0) -> Manifest:
    """Publish a narrow ×4 network."""
    return publish(root, name, network(UPSCALE_4, seed=seed))


def publish_restorer(root: Path, name: str = "x4-photo", seed: int = 1) -> Manifest:
    """Publish a narrow ×4 network as one for damaged photographs."""
    provenance = Provenance(data="tests", recipe={"degradation": "photo"})
    draft = Draft(name=name, task="super-resolution", provenance=provenance)
    return ModelStore(root).publish(network(UPSCALE_4, seed=seed), draft)


def settings(root: Path, **options: Any) -> Settings:
    """Settings for a test: one thread and so one lane, fp32, a store that is looked at often, our own API alone.

    A tile has an eighth of a megapixel: networks are timed on parts of one, which takes most of the time of a start.
    """
    chosen: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "codec_workers": 2,
        "store_poll_seconds": 0.05,
    }
    chosen |= {"tile_values": 2**20, "client_apis": ""}
    jobs = root.parent / f"{root.name}-jobs"
    return Settings.model_validate({"stores": (root,), "port": 0, "jobs_folder": jobs, **chosen, **options})


@contextmanager
def serving(root: Path, **options: Any) -> Iterator[Live]:
    """Serve the store at `root` with these settings."""
    with running(settings(root, **options)) as live:
        yield live


@contextmanager
def serving_clients(root: Path, **options: Any) -> Iterator[Live]:
    """Serve with the APIs of other programs, whose endpoints are half of all and take as much of a start."""
    with serving(root, **{"client_apis": Settings.model_fields["client_apis"].default, **options}) as live:
        yield live


@contextmanager
def running(
    chosen: Settings,
    *,
    refusals: RefusalCache | None = None,
    limits: ConnectionLimits | None = None,
    period: float = PERIOD,
    devices: Sequence[torch.device] | None = None,
) -> Iterator[Live]:
    """A service on a free port of this machine; ready when the block begins.

    `limits` are those of `build_server`, `period` that of the load shedder, `devices` those of `build_service`.
    """
    service = build_service(chosen, refusals, worker_launcher(), devices)
    shedder = service.shedder
    if shedder is not None:
        timeouts = chosen.request_timeout, chosen.max_request_timeout
        shedder = LoadShedder(service.refusals, service.metrics, *timeouts, period, chosen.root_path)
    server = build_server(service.app, chosen, service.metrics, shedder, limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, lambda started: started)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        # without TLS, reading the certificates of the system would be a tenth of a second for nothing
        with httpx.Client(base_url=url, timeout=PATIENCE, verify=False) as client:
            live = Live(service, shedder, client, url)
            live.until("/readyz", lambda answer: "the models are being loaded" not in answer.json()["problems"])
            yield live
    finally:
        server.should_exit = True
        thread.join()


def pixels(content: bytes) -> Pixels:
    """What a file shows, RGB."""
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def same(one: Pixels, other: Pixels) -> bool:
    """Whether two pictures are equal but for rounding: one level of 256, in one value of a hundred."""
    difference = np.abs(one.astype(int) - other)
    return bool(difference.max() <= 1 and (difference > 0).mean() <= 0.01)


@torch.inference_mode()
def painted(root: Path, image: Pixels, name: str = "wave", version: int | None = None) -> Pixels:
    """What the stored network itself makes of an image, without any service."""
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    output = ModelStore(root).load(name, version).network(batch)[0].permute(1, 2, 0)
    result: Pixels = (output * 255).round().to(torch.uint8).numpy()
    return result
