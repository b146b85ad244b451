"""The HTTP server: uvicorn, told to leave signals and the end of the process alone, with connections of our own."""

import asyncio
import logging
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from service.http.connection import Connection, ConnectionLimits
from service.http.load_shedding.load_shedder import LoadShedder
from service.http.load_shedding.shedding_connection import SheddingConnection
from service.http.probes import state_paths
from service.settings import Settings
from service.telemetry.metrics import Metrics

CHECK_SECONDS = 0.25
"""How often connections are checked for what takes too long."""

NO_PASSWORD = " "
"""Where there is none: OpenSSL would ask for that of an encrypted key, at the terminal, and wait."""

logger = logging.getLogger(__name__)


class HttpServer(uvicorn.Server):
    """uvicorn's server of connections of ours, without its handling of signals, and without SystemExit.

    uvicorn would close the port on SIGTERM before /readyz can report it, and exit where the port is taken.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket | None = None) -> None:
        """`listener`: a bound socket, instead of the address of the configuration."""
        super().__init__(config)
        self._listener = listener
        self._socket_file = Path(config.uds) if config.uds and listener is None else None
        self.listening = asyncio.Event()
        """Set when the ports are open."""

    def own_unix_socket(self, listener: socket.socket, path: Path) -> None:
        """Serve this Unix socket, instead of the address of the configuration, and remove its file at the end."""
        self._listener, self._socket_file = listener, path

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and open the ports."""
        await super().startup(sockets)
        if self._socket_file is not None and self._listener is not None:
            logger.info("running on unix socket %s", self._socket_file)
        self.listening.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `should_exit` is set. Returns at once, with the reason in the log, where the port is taken."""
        checking = asyncio.create_task(self._check_connections())
        try:
            with suppress(SystemExit):
                await super().serve(sockets if self._listener is None else [self._listener])
        finally:
            checking.cancel()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture no signals."""
        yield

    @property
    def address(self) -> str:
        """The origin of its first port, as `http://127.0.0.1:8000`; empty where no port is open."""
        for bound in (each for listener in self.servers for each in listener.sockets):
            if bound.family in (socket.AF_INET, socket.AF_INET6):
                host, port = bound.getsockname()[:2]
                name = f"[{host}]" if bound.family == socket.AF_INET6 else host
                return f"{'https' if self.config.is_ssl else 'http'}://{name}:{port}"
        return ""

    def stop(self, seconds: int) -> None:
        """Close the port, and the connections after their requests, at most `seconds` later."""
        self.remove_socket()
        self.config.timeout_graceful_shutdown = seconds
        self.should_exit = True

    def remove_socket(self) -> None:
        """Remove the file of its own Unix socket; once, as another process may open the next."""
        is_open = self._listener is not None or self.listening.is_set()
        if self._socket_file is not None and is_open:
            with suppress(OSError):
                self._socket_file.unlink()
            self._socket_file = None

    async def _check_connections(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = clock()
            for connection in cast("list[Connection]", list(self.server_state.connections)):
                try:
                    connection.check(now)
                except Exception:
                    logger.exception("a connection could not be checked, and is closed")
                    connection.transport.abort()


def build_server(
    app: ASGIApp,
    settings: Settings,
    metrics: Metrics,
    shedder: LoadShedder | None = None,
    limits: ConnectionLimits | None = None,
    listener: socket.socket | None = None,
) -> HttpServer:
    """The server of an application; with load shedding where there is a shedder.

    `limits`: those of connections, where they are not to be those of the settings; `listener`: a bound socket, instead
    of the settings' port.
    """
    limits = limits or connection_limits(settings)
    connection = (
        partial(SheddingConnection, shedder, limits, metrics) if shedder else partial(Connection, limits, metrics)
    )
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", connection),
        uds=str(settings.uds) if settings.uds else None,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        ssl_keyfile_password=settings.tls_key_password.get_secret_value() if settings.tls_key_password else NO_PASSWORD,
        ws="none",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `Forwarded` does it, and more
        server_header=False,
    )
    server = HttpServer(config, listener)
    metrics.connections.set_function(lambda: len(server.server_state.connections))
    return server


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits of connections by the settings."""
    return ConnectionLimits(
        connections=settings.max_connections,
        exempt=state_paths(settings.root_path),
        header_seconds=settings.header_seconds,
        bytes_per_second=settings.min_bytes_per_second,
    )


def build_metrics_server(
    app: ASGIApp, settings: Settings, metrics: Metrics, listener: socket.socket | None = None
) -> HttpServer | None:
    """The server of probes and metrics, without TLS; None where they have no port of their own.

    `listener`: a bound socket, instead of the settings' metrics_port.
    """
    if settings.metrics_port is None:
        return None
    address = {"host": settings.metrics_host, "port": settings.metrics_port}
    return HttpServer(
        _config_beside(app, partial(Connection, connection_limits(settings), metrics), **address), listener
    )


def build_socket_server(app: ASGIApp, path: Path, metrics: Metrics) -> HttpServer:
    """The server of an application at a Unix socket, which other processes of the service ask."""
    return HttpServer(_config_beside(app, partial(Connection, ConnectionLimits(), metrics), uds=str(path)))


def _config_beside(app: ASGIApp, connection: Callable[..., Connection], **address: Any) -> uvicorn.Config:
    """Of a server beside that of the service, which starts and stops the application."""
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", connection),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **address,
    )
