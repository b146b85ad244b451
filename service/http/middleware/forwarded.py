"""ASGI middleware: what a trusted proxy says of a request: its client, its scheme, the prefix that was removed."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.http.middleware.path_normalization import normalize_path
from service.http.root_path import without_prefix

PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){1,8}")
"""Prefixes that are accepted. Anything else could lead links astray."""

UNIX_SOCKET_PEER = ("127.0.0.1", 0)
"""Who uses the Unix socket counts as this machine: a peer without an address could not be named as trusted."""


class Forwarded:
    """X-Forwarded-For, -Proto and -Prefix of trusted proxies are honoured, those of others are ignored."""

    def __init__(self, app: ASGIApp, trusted: str, prefix: str = "") -> None:
        """`trusted`: addresses and networks, separated by commas; `prefix`: where no proxy names one."""
        self._app = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type] # uvicorn's own types of ASGI
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["client"] = scope.get("client") or UNIX_SOCKET_PEER
            self._mount(scope)
        await self._app(scope, receive, send)  # type: ignore[arg-type]

    def _mount(self, scope: Scope) -> None:
        """Put the prefix before the path, as ASGI wants it. A proxy may have left it there."""
        named = self._forwarded_prefix(scope)
        prefix, path = named or self._prefix, scope["path"]
        if not prefix:
            return
        scope["root_path"], scope["path"] = prefix, prefix + (path if named else without_prefix(path, prefix))

    def _forwarded_prefix(self, scope: Scope) -> str:
        """The X-Forwarded-Prefix of a trusted proxy; empty where there is none."""
        values = [value for name, value in scope["headers"] if name == b"x-forwarded-prefix"]
        if len(values) != 1 or scope["client"][0] not in self._app.trusted_hosts:
            return ""
        prefix = normalize_path(values[0].decode("latin-1").strip())
        return prefix if PREFIX.fullmatch(prefix) else ""
