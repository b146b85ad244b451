"""The program `pastiche-serve`: one process with one device, until it is told to stop."""

import asyncio
import logging
import math
import os
import signal
import sys
from time import monotonic

from pydantic import ValidationError
from pydantic_settings import SettingsError

from model_store import StoreError
from model_store.allocator import configure_allocator
from service.app import Service, build_service
from service.http.uvicorn_server import HttpServer, build_metrics_server, build_server
from service.lifespan import Lifespan
from service.settings import Settings
from service.telemetry import log

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

SWITCH_SECONDS = 0.0005
"""After how long a thread yields to one that waits for the interpreter; Python's default is 5 ms. A forward pass waits
for it between any two operations, so that a busy event loop would make it several times as long."""


def main() -> int:
    """Serve with the settings of the command line, the environment and a file.

    The exit status is 0 after a requested stop, 1 after a failure, 2 where the settings are wrong.
    """
    try:
        settings = Settings(_cli_parse_args=True, _cli_prog_name="pastiche-serve", _cli_kebab_case=True)
    except ValidationError as error:
        for fault in error.errors():
            option = "".join(f"--{part}: ".replace("_", "-") for part in fault["loc"][:1])
            print(f"error: {option}{fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    log.configure(settings.log_level, settings.log_format)
    configure_allocator()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        service = build_service(settings)
        server = build_server(service.app, settings, service.metrics, service.shedder)
        server.config.load()  # reads the certificate
    except (ValueError, OSError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    metrics_server = build_metrics_server(service.metrics_app, settings, service.metrics)
    servers = [server] if metrics_server is None else [server, metrics_server]
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        return runner.run(serve(service, *servers))


async def serve(service: Service, *servers: HttpServer) -> int:
    """Serve until a signal, or until a part of the service breaks; then drain and stop. A second signal kills.

    Servers are stopped in their order, one after the other. Returns the exit status: 0 after a signal, else 1.
    """
    serving = [asyncio.create_task(server.serve()) for server in servers]
    ending = asyncio.create_task(until_end(service.lifespan))
    welcome = asyncio.create_task(tell_address(service, servers[0]))
    await asyncio.wait((*serving, ending), return_when=asyncio.FIRST_COMPLETED)
    welcome.cancel()
    began = monotonic()
    await service.lifespan.drain()
    allowed = service.settings.shutdown_delay_seconds + service.settings.drain_seconds
    for server, task in zip(servers, serving, strict=True):
        server.stop(max(1, math.ceil(allowed - (monotonic() - began))))
        await task
    return ending.result() if ending.done() else 1


async def tell_address(service: Service, server: HttpServer) -> None:
    """Log where the service is, as soon as its models are loaded: the log has scrolled since the port was opened.

    Meanwhile the API is described, which takes some tenths of a second that no request should wait for.
    """
    await asyncio.to_thread(service.app.openapi)
    await service.models.known.wait()
    await server.listening.wait()
    if server.address and service.models.all():
        logger.info("ready: open %s%s/ in a browser, or POST images", server.address, service.settings.root_path)


async def until_end(lifespan: Lifespan) -> int:
    """Wait for a signal (returns 0) or a broken service (1)."""
    loop, signalled = asyncio.get_running_loop(), asyncio.Event()

    def on_signal() -> None:
        signalled.set()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, _kill)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    waiting = [asyncio.create_task(event.wait()) for event in (lifespan.broken, signalled)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return 0 if signalled.is_set() else 1


def _kill(number: int, _frame: object) -> None:
    """End at once. The default handler would not do: it does not reach the first process of a container."""
    os._exit(128 + number)
