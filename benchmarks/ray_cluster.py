"""The service on a Ray cluster of this machine alone, with a delay in the place of networks: what `ray` measures."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import serve
from torch import Tensor

from benchmarks.servers import START_SECONDS, free_port
from model_store import Network
from service.engine.cpu import CpuBackend
from service.http.uvicorn_server import build_metrics_server
from service.imaging.pixels import Pixels
from service.ray.application import DEVICE, Options, application
from service.ray.device import Device
from service.settings import Settings

PROCESSORS = 32
"""That Ray may reserve, however many there are: replicas that wait need none."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parents[1]),
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "0",
}
"""For all processes of the cluster, on a machine that has other work."""

INGRESS_PROCESSES = ("ray::ProxyActor", "ray::ServeReplica:pastiche:ingress")
"""Beginnings of the titles of the processes that take requests and pass them on."""


def delayed(seconds: float, port: int | None = None) -> type[Device]:
    """Replicas whose device takes so many seconds more for each plane.

    With `port` the service of a replica, of which there is one then, listens there as well, as it does alone.
    """

    class Delayed(Device):
        async def __init__(self, settings: dict[str, Any], release: str = "") -> None:  # type: ignore[misc] # Ray awaits it
            _slow_down(seconds)
            await super().__init__(settings, release)
            if port is not None:
                own = Settings(metrics_port=port, metrics_host="127.0.0.1")
                server = build_metrics_server(self._service.app, own, self._service.metrics)
                assert server is not None
                self._listening = asyncio.create_task(server.serve())

    return Delayed


class RayService:
    """The application on a running cluster, replaced with each `deploy`."""

    def __init__(self, store: Path, spill_seconds: float) -> None:
        self._store = store
        self._spill_seconds = spill_seconds
        self.port = free_port()
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": self.port})

    def deploy(self, device: type[Device], replicas: int) -> None:
        """Serve by so many replicas; return when there are no others. Raises TimeoutError."""
        serve.run(application(self._options(replicas), device), name="pastiche", route_prefix="/")
        end = time.monotonic() + START_SECONDS
        while self._states() != {"RUNNING": replicas}:
            if time.monotonic() > end:
                raise TimeoutError(f"there are not {replicas} replicas, but {self._states()}")
            time.sleep(0.1)

    def ingress_seconds(self) -> float:
        """Processor seconds of the processes of the ingress, since they started."""
        found = [each for each in psutil.process_iter() if _title(each).startswith(INGRESS_PROCESSES)]
        return sum(times.user + times.system for times in (process.cpu_times() for process in found))

    def _options(self, replicas: int) -> Options:
        settings: dict[str, Any] = {"device": "cpu", "precision": "fp32", "threads": 1, "codec_workers": 1}
        return Options(
            settings={**settings, "stores": [str(self._store)], "coalesce": False, "log_level": "warning"},
            min_replicas=replicas,
            max_replicas=replicas,
            downscale_delay_seconds=0,
            spill_seconds=self._spill_seconds,
        )

    def _states(self) -> dict[str, int]:
        states = serve.status().applications["pastiche"].deployments[DEVICE].replica_states
        return {str(state): count for state, count in states.items() if count}


@contextmanager
def running(store: Path, spill_seconds: float) -> Iterator[RayService]:
    """A cluster of one node for the length of the block, without an application yet."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        ray.init(address="local", num_cpus=PROCESSORS, include_dashboard=False, log_to_driver=False)
        yield RayService(store, spill_seconds)
        serve.shutdown()  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _slow_down(seconds: float) -> None:
    """Networks on the CPU of this process take so much longer for each plane."""
    run_eager = CpuBackend.run_eager

    def run(
        backend: CpuBackend, network: Network, planes: Sequence[Pixels], statistics: Tensor | None
    ) -> list[Pixels | None]:
        time.sleep(seconds * len(planes))
        return run_eager(backend, network, planes, statistics)

    CpuBackend.run_eager = run  # type: ignore[method-assign,assignment]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
