"""One serving process, until it is told to stop."""

import asyncio
import gc
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Thread
from time import monotonic
from typing import NoReturn

from model_store import StoreError
from model_store.allocator import configure_allocator
from service.app import Service, build_service
from service.environment import unknown_variables, variable
from service.http.certificate import read_certificate
from service.http.listeners import open_listener, open_metrics_listener
from service.http.siblings import Siblings
from service.http.uvicorn_server import HttpServer, build_metrics_server, build_server
from service.lifespan import Lifespan
from service.membership import Membership
from service.settings import Settings, nearest
from service.stop_signals import kills, stop_signals
from service.telemetry import log

logger = logging.getLogger(__name__)

LINGER_SECONDS = 5.0
"""For threads at the end of the process, such as one that writes a file. One that reads a store that does not answer
would hold it for a minute, and the orchestrator would kill it."""

SWITCH_SECONDS = 0.0005
"""After how long a thread yields to one that waits for the interpreter; Python's default is 5 ms. A forward pass waits
for it between any two operations, so that a busy event loop would make it several times as long."""


def run(settings: Settings, membership: Membership | None = None) -> int:
    """Serve with these settings, as one of several processes where there is a membership.

    The exit status is 0 after a requested stop, 1 after a failure, 2 where the settings are wrong. Where threads do
    not end, the process ends here.
    """
    log.configure(settings.log_level, settings.log_format, membership.index if membership else None)
    if membership is None or membership.index == 0:
        _warn_of_unknown_variables()
    configure_allocator()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is imported stays, 250,000 objects, and the end of the process looks at all that are not frozen
    try:
        service, servers = _build(settings, membership)
        read_certificate(servers[0], settings)
    except (ValueError, OSError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        if membership is None and settings.uds is not None:
            servers[0].own_unix_socket(open_listener(settings), settings.uds)
    except OSError as error:  # another service has taken the path since it was tried
        print(f"error: {error}", file=sys.stderr)
        return 1
    threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
    with asyncio.Runner(loop_factory=servers[0].config.get_loop_factory()) as runner:
        runner.get_loop().set_default_executor(threads)
        status = runner.run(serve(service, *servers))
        if not _ended(threads):
            _end_process(status)
    return status


def _ended(threads: ThreadPoolExecutor) -> bool:
    """Whether all threads have ended in the time that they are given."""
    waiting = Thread(target=threads.shutdown, daemon=True)
    waiting.start()
    waiting.join(LINGER_SECONDS)
    return not waiting.is_alive()


def _end_process(status: int) -> NoReturn:
    """End the process, though threads are running: the interpreter would wait for them."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _warn_of_unknown_variables() -> None:
    """They are not refused, as an environment may be shared with another version."""
    known = [variable(name) for name in Settings.model_fields]
    for name in unknown_variables(os.environ, Settings.model_fields):
        logger.warning("%s in the environment is no setting; %s", name, nearest(name.upper(), known))


def _build(settings: Settings, membership: Membership | None) -> tuple[Service, list[HttpServer]]:
    """The service, and its servers in the order in which they stop. Raises as `build_service`, and OSError."""
    if membership is not None:
        return _build_member(settings, membership)
    service = build_service(settings)
    main = build_server(service.app, settings, service.metrics, service.shedder)
    metrics = build_metrics_server(service.metrics_app, settings, service.metrics)
    return service, [main] if metrics is None else [main, metrics]


def _build_member(settings: Settings, membership: Membership) -> tuple[Service, list[HttpServer]]:
    """As `_build`, for one of several processes. Raises OSError where it cannot have the port."""
    siblings = Siblings(membership.folder, membership.index, membership.count)
    found = {"port": membership.port, "metrics_port": membership.metrics_port, "jobs_folder": membership.jobs_folder}
    own = settings.model_copy(update=found)
    service = build_service(own, siblings=siblings)
    listener = open_listener(own) if membership.unix_listener is None else _inherited(membership.unix_listener)
    servers = [
        build_server(service.app, own, service.metrics, service.shedder, listener=listener),
        build_metrics_server(service.metrics_app, own, service.metrics, listener=open_metrics_listener(own)),
        siblings.server(service.metrics),
    ]
    return service, [server for server in servers if server is not None]


def _inherited(descriptor: int) -> socket.socket:
    """The socket of an inherited descriptor, which processes that are started from here do not inherit."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


async def serve(service: Service, *servers: HttpServer) -> int:
    """Serve until a signal, or until a part of the service breaks; then drain and stop. A second signal kills.

    Servers are stopped in their order, one after the other. Returns the exit status: 0 after a signal, else 1.
    """
    serving = [asyncio.create_task(server.serve()) for server in servers]
    ending = asyncio.create_task(until_end(service.lifespan, servers[0].remove_socket))
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


async def until_end(lifespan: Lifespan, at_kill: Callable[[], None]) -> int:
    """Wait for a signal (returns 0) or a broken service (1). `at_kill` is called where a second signal kills."""
    loop, signalled, numbers = asyncio.get_running_loop(), asyncio.Event(), stop_signals()

    def on_signal() -> None:
        signalled.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, partial(_kill, at_kill) if kills(number) else signal.SIG_IGN)

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    waiting = [asyncio.create_task(event.wait()) for event in (lifespan.broken, signalled)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return 0 if signalled.is_set() else 1


def _kill(at_kill: Callable[[], None], number: int, _frame: object) -> None:
    """End at once. The default handler would not do: it does not reach the first process of a container."""
    at_kill()
    os._exit(128 + number)
