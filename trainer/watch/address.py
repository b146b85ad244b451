"""Where the page of a training is served, and by which names browsers may ask for it."""

import socket
from ipaddress import ip_address
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator

ANY_PORT = "auto"
"""On LOOPBACK: USUAL_PORT, or where that is taken a free one."""

LOOPBACK, USUAL_PORT = "127.0.0.1", 8100
"""The same port each time, so that an open page finds a resumed run again."""

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Address(NamedTuple):
    """A host and a port to listen on; port 0 is a free one."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """HOST:PORT, or [HOST]:PORT for IPv6. Raises ValueError for anything else."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.netloc != text or parts.username is not None:
        raise ValueError(f"{text!r} is no HOST:PORT, such as {LOOPBACK}:{USUAL_PORT}")
    return Address(host, port)


def _check(text: str) -> str:
    if text != ANY_PORT:
        parse_address(text)
    return text


WatchAddress = Annotated[str, AfterValidator(_check)]
"""HOST:PORT, or ANY_PORT."""


def is_open(host: str) -> bool:
    """Whether others than this machine reach a server that listens there."""
    return host not in LOCAL_NAMES


def is_own_name(name: str, listening_on: str) -> bool:
    """Whether a browser may know the server by the name, a host without a port.

    A page of somebody else can point its own name to this machine (DNS rebinding), but cannot make it one of these: the
    host that is listened on, a local name, or where all addresses are listened on an address or this machine's name.
    """
    if name.lower() in LOCAL_NAMES | {listening_on.lower()}:
        return True
    return listening_on in ("0.0.0.0", "::") and (_is_ip(name) or name.lower() == socket.gethostname().lower())


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
