"""ASGI middleware: requests for other hosts than ours are refused (RFC 9110, section 7.4).

A page on a domain whose name was made to resolve to this machine (DNS rebinding) sends that domain as Host.
"""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import UnknownHost
from service.http.probes import PROBES
from service.http.problems import Problems
from service.http.root_path import route_path


class AllowedHosts:
    """Refuses requests whose Host is none of `hosts`: names without port, `*.example.com` for all below one."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], problems: Problems) -> None:
        self._app = app
        self._names = frozenset(host.lower() for host in hosts if not host.startswith("*."))
        self._suffixes = tuple(host[1:].lower() for host in hosts if host.startswith("*."))
        self._problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and route_path(scope) not in PROBES and not self._is_allowed(scope):
            app = self._problems.response(scope, self._refusal())
        await app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        name = _without_port(hosts[0]) if len(hosts) == 1 else ""
        return name in self._names or (bool(self._suffixes) and name.endswith(self._suffixes))

    def _refusal(self) -> UnknownHost:
        accepted = sorted([*self._names, *(f"*{suffix}" for suffix in self._suffixes)])
        return UnknownHost(f"this service answers for {', '.join(accepted)}; name one of them as Host")


def _without_port(host: str) -> str:
    """The name of `name:port`; an IPv6 address keeps its brackets."""
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdecimal() else host
