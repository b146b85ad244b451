"""Sockets of a port that several processes serve.

Each process listens on a socket of its own at the same port (SO_REUSEPORT, socket(7)): the system spreads connections
evenly, and gives none to a process that is not there. A single socket would not do: asyncio accepts whatever waits, and
so the first process to wake takes all. Unix sockets have no such option, and are shared.
"""

import asyncio
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

from model_store.locks import lock
from service.settings import Settings

UNIX_BACKLOG = 2048
"""Connections to a Unix socket that wait to be accepted: uvicorn's number."""

UNIX_MODE = 0o666
"""Permissions of a Unix socket, as uvicorn sets them: the folder says who may reach it."""


def try_addresses(settings: Settings) -> None:
    """Raises OSError, with the address, where one that the settings name cannot be listened on.

    A server would tell it after its application has started, which takes its time; and one of several processes
    shares a port with others that do, whoever began them.
    """
    asyncio.run(_try_ports(settings))
    if settings.uds is not None:
        with _locked(settings.uds.parent):
            _bind_unix(settings.uds).close()
            settings.uds.unlink()


def open_listener(settings: Settings) -> socket.socket:
    """A socket bound to the service's port, on which nobody listens yet, or its Unix socket. Raises OSError.

    A Unix socket listens already: it has to be known that somebody has the path, and clients wait for what they ask.
    """
    if settings.uds is None:
        return _bind(settings.host, settings.port)
    with _locked(settings.uds.parent):
        return _bind_unix(settings.uds)


def open_metrics_listener(settings: Settings) -> socket.socket | None:
    """A socket bound to metrics_port; None where there is none. Raises OSError."""
    return None if settings.metrics_port is None else _bind(settings.metrics_host, settings.metrics_port)


def address_of(listener: socket.socket) -> str:
    """Where a socket is bound, as `127.0.0.1:8000` or `/run/pastiche.sock`."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(name)
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{host}:{name[1]}"


async def _try_ports(settings: Settings) -> None:
    loop, ports = asyncio.get_running_loop(), [(settings.metrics_host, settings.metrics_port)]
    if settings.uds is None:
        ports.append((settings.host, settings.port))
    async with AsyncExitStack() as stack:
        for host, port in ports:
            if port is None:
                continue
            try:
                opened = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
            except (OSError, UnicodeError) as error:
                raise OSError(f"cannot listen on {host}:{port}: {_reason(error)}") from error
            await stack.enter_async_context(opened)


def _reason(error: OSError | UnicodeError) -> str:
    """In the system's words: asyncio's repeat the address."""
    if isinstance(error, UnicodeError):
        return "no host can have that name"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _bind_unix(path: Path) -> socket.socket:
    """A socket that an earlier process left at the path is replaced, one on which somebody listens is not."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _require_left(path)
            path.unlink()
        listener.bind(str(path))
        path.chmod(UNIX_MODE)
        listener.listen(UNIX_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone with the sockets of a folder, among services; where it cannot be locked, or is not there, not so."""
    descriptor = None
    with suppress(OSError):
        descriptor = lock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _require_left(path: Path) -> None:
    """Raise OSError where a process listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)  # it would wait for a process with too much to do
        if client.connect_ex(str(path)) in (0, errno.EAGAIN):
            raise OSError(errno.EADDRINUSE, "another process listens there")
