"""Serves the page of a training in a thread beside it."""

import asyncio
import errno
import logging
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from model_store.error_messages import reason_of
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.monitor import Phase, TrainingMonitor
from trainer.run_folder import Run
from trainer.watch.address import ANY_PORT, LOOPBACK, USUAL_PORT, Address, is_open, parse_address
from trainer.watch.app import Watch, create_app

FAREWELL_SECONDS = 3.0
"""How long the server stays after the end of a training, for a page that was open to learn of it."""

MOST_CONNECTIONS = 64
"""Open at once. The training needs files, which are of the same number as connections."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listener:
    """A socket that listens for browsers, and the host that was asked for."""

    socket: socket.socket
    host: str

    @property
    def url(self) -> str:
        """The address of the page."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.socket.getsockname()[1]}/"


@contextmanager
def listen(text: str) -> Iterator[Listener]:
    """Listen on HOST:PORT or ANY_PORT. Raises TrainerError where that is not possible."""
    address = Address(LOOPBACK, USUAL_PORT) if text == ANY_PORT else parse_address(text)
    try:
        found = _bind(address)
    except OSError as error:
        if text != ANY_PORT or error.errno != errno.EADDRINUSE:
            reason = reason_of(error).partition(" (while")[0]  # what Python adds is its own notation
            raise TrainerError(f"--watch {text}: {reason}; another HOST:PORT may be free") from error
        found = _bind(Address(LOOPBACK, 0))
    if is_open(address.host):
        log.warning("whoever reaches %s can see this training, stop it, and publish from it", text)
    with found:
        yield Listener(found, address.host)


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server(address, family=family)


class _Connection(H11Protocol):
    """A connection, closed at once where too many are open. h11 bounds heads, and refuses those with two hosts."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See Protocol."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()


class WatchServer:
    """The server, from the beginning of the `with` block to its end. No failure of it reaches the training."""

    def __init__(self, monitor: TrainingMonitor, run: Run, config: TrainConfig, listener: Listener) -> None:
        self.url = listener.url
        self._listener = listener
        self._watched, self._end_told = threading.Event(), threading.Event()
        token = secrets.token_urlsafe(32)
        watch = Watch(monitor, run, config, token, self._note)
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(watch, host=listener.host, token=token),
                http=_Connection,
                backlog=MOST_CONNECTIONS,  # that are accepted at once
                log_config=None,
                log_level=logging.ERROR,  # not of each request that is none
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._watched.is_set():
            self._end_told.wait(FAREWELL_SECONDS)
        self._server.should_exit = True
        self._thread.join(FAREWELL_SECONDS)

    def _note(self, phase: Phase) -> None:
        """A page was told of a phase."""
        self._watched.set()
        if phase == "ended":
            self._end_told.set()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._listener.socket])
        except (Exception, SystemExit):  # uvicorn exits where it cannot start
            log.exception("the page of the training is gone; the training goes on")
