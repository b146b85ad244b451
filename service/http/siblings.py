"""The other processes that serve the same port, and what all of them have together."""

import asyncio
import logging
from pathlib import Path

import httpx
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.http.uvicorn_server import HttpServer, build_socket_server
from service.telemetry.merging import SCRAPE_SECONDS, merge_expositions
from service.telemetry.metrics import Metrics

LABEL = "process"
"""The label of the process in every sample: its number."""

logger = logging.getLogger(__name__)


class Siblings:
    """Processes that have a Unix socket each in one folder, at which they answer `/metrics` with their own metrics."""

    def __init__(self, folder: Path, index: int, count: int) -> None:
        """This process is the one with that index, of `count`."""
        self._folder = folder
        self._index = index
        self._count = count

    @property
    def measurements(self) -> Path:
        """The file of what is measured of networks, for all of them."""
        return self._folder / "measurements.json"

    def server(self, metrics: Metrics) -> HttpServer:
        """The server of this process's own metrics, for the others."""

        async def scrape(_request: Request) -> Response:
            return Response(generate_latest(metrics.registry))

        app = Starlette(routes=[Route("/metrics", scrape)])
        return build_socket_server(app, self._socket(self._index), metrics)

    async def scrape(self, metrics: Metrics) -> bytes:
        """The metrics of all processes, in Prometheus' text format; one that does not answer is left out."""
        others = [index for index in range(self._count) if index != self._index]
        answers = await asyncio.gather(*(self._ask(index) for index in others))
        expositions = {str(index): text for index, text in zip(others, answers, strict=True) if text}
        expositions[str(self._index)] = generate_latest(metrics.registry)
        return await asyncio.to_thread(merge_expositions, expositions, LABEL)

    async def _ask(self, index: int) -> bytes:
        """The metrics of another process, nothing where it does not answer."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket(index)))
        try:
            async with httpx.AsyncClient(transport=transport, timeout=SCRAPE_SECONDS) as client:
                return (await client.get("http://sibling/metrics")).raise_for_status().content
        except httpx.HTTPError as error:
            logger.warning("process %d does not tell its metrics: %r", index, error)
            return b""

    def _socket(self, index: int) -> Path:
        return self._folder / f"{index}.sock"
