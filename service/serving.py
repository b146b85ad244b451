"""What `pastiche-serve` does: one process, one device, until it is told to stop."""

import asyncio
import math
import os
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic
from typing import cast

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from model_store.allocator import keep_memory
from service import log
from service.app import create_app
from service.door import Door
from service.lifespan import Lifespan
from service.settings import Settings

SIGNALS = (signal.SIGTERM, signal.SIGINT)

SWITCH_SECONDS = 0.0005
"""After so long a thread gives way to another one that waits for the interpreter. A forward pass waits for it between
any two operations; at Python's 5 ms, a busy event loop makes a pass several times as long."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the minute after which load balancers drop an idle connection: they must be the first to close."""


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals and the end of the process alone.

    By itself it would close the port before /readyz can say so, and raise SystemExit where it cannot begin.
    """

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; return at once, with the reason in the log, where the port cannot be had."""
        with suppress(SystemExit):
            await super().serve(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture nothing."""
        yield


def main() -> int:
    """Serve with the settings of the command line and the environment. The exit status is 0 after a requested stop."""
    try:
        settings = Settings(_cli_parse_args=True, _cli_prog_name="pastiche-serve", _cli_kebab_case=True)
    except ValidationError as error:
        for fault in error.errors():
            option = "".join(f"--{part}: ".replace("_", "-") for part in fault["loc"][:1])
            print(f"error: {option}{fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    log.configure(settings)
    keep_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        app = create_app(settings)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with asyncio.Runner(loop_factory=server_of(app, settings).config.get_loop_factory()) as runner:
        return runner.run(serve(app, settings))


async def serve(app: FastAPI, settings: Settings) -> int:
    """Serve until a signal, or until a part of the service breaks; then drain and stop. A second signal kills."""
    lifespan: Lifespan = app.state.lifespan
    server = server_of(app, settings)
    serving = asyncio.create_task(server.serve())
    ending = asyncio.create_task(_reason_to_end(lifespan))
    await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
    began = monotonic()
    await lifespan.drain()
    left = settings.shutdown_delay_seconds + settings.drain_seconds - (monotonic() - began)
    server.config.timeout_graceful_shutdown = max(1, math.ceil(left))
    server.should_exit = True
    await serving
    return ending.result() if ending.done() else 1


def server_of(app: FastAPI, settings: Settings) -> Server:
    """The HTTP server of the application."""
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], partial(Door, app.state.turnstile)),
        ws="none",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    return Server(config)


def _kill(number: int, _frame: object) -> None:
    """End at once: by a handler, for what is not handled does not reach the first process of a container."""
    os._exit(128 + number)


async def _reason_to_end(lifespan: Lifespan) -> int:
    """Wait for a signal (0) or a broken service (1)."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        told.set()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, _kill)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    broken = asyncio.create_task(lifespan.broken.wait())
    signalled = asyncio.create_task(told.wait())
    await asyncio.wait((broken, signalled), return_when=asyncio.FIRST_COMPLETED)
    broken.cancel()
    signalled.cancel()
    return 0 if told.is_set() else 1
