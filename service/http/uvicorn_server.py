"""The HTTP server: uvicorn, told to leave signals and the end of the process alone."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from service.http.load_shedding.load_shedder import LoadShedder
from service.http.load_shedding.protocol import LINGER_SECONDS, HttpProtocol
from service.settings import Settings

KEEP_ALIVE_SECONDS = 75
"""Longer than the minute after which load balancers close an idle connection: they must be the first to close it."""


class HttpServer(uvicorn.Server):
    """uvicorn's server without its handling of signals, and without SystemExit.

    uvicorn would close the port on SIGTERM before /readyz can report it, and exit where the port is taken.
    """

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `should_exit` is set. Returns at once, with the reason in the log, where the port is taken."""
        with suppress(SystemExit):
            await super().serve(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture no signals."""
        yield

    def stop(self, seconds: int) -> None:
        """Close the port, and the connections after their requests, at most `seconds` later."""
        self.config.timeout_graceful_shutdown = seconds
        self.should_exit = True


def build_server(
    app: ASGIApp,
    settings: Settings,
    shedder: LoadShedder | None = None,
    *,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    linger_seconds: float = LINGER_SECONDS,
) -> HttpServer:
    """The server of an application; with load shedding where there is a shedder."""
    protocol = partial(HttpProtocol, shedder, linger_seconds=linger_seconds) if shedder else "httptools"
    config = uvicorn.Config(
        app,
        uds=str(settings.uds) if settings.uds else None,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        ssl_keyfile_password=settings.tls_key_password.get_secret_value() if settings.tls_key_password else None,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `Forwarded` does it, and more
        server_header=False,
        timeout_keep_alive=cast("int", keep_alive_seconds),  # uvicorn takes fractions too
    )
    return HttpServer(config)


def build_metrics_server(app: ASGIApp, settings: Settings) -> HttpServer | None:
    """The server of probes and metrics, without TLS; None where they have no port of their own."""
    if settings.metrics_port is None:
        return None
    return HttpServer(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            host=settings.metrics_host,
            port=settings.metrics_port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    )
