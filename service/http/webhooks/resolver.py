"""Addresses of hosts, looked up in threads of their own: a name server that hangs holds up no other work."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

THREADS = 4


class Resolver:
    """Asks the operating system."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "resolver")

    async def addresses(self, host: str, port: int) -> list[str]:
        """The IP addresses of a host, in the order in which they should be tried. Raises OSError where it has none."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(found))


def _look_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no name of a host") from error
    return [str(address[0]) for *_, address in found]
