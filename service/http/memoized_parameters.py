"""Parameters that are parsed and validated once for all requests that have the same ones.

The framework takes a millisecond for a query of some twenty parameters, in the thread that all clients share, and most
clients send the same ones again and again.
"""

from collections.abc import Callable, Coroutine
from functools import cached_property, wraps
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import Headers

from service.http.unknown_parameters import StrictRoute

MOST_ENTRIES = 256
"""Sets of parameters that a route keeps. A further one displaces the oldest."""

LONGEST_KEY = 1024
"""Bytes of a path, a query and headers up to which their parameters are kept."""

Key = tuple[bytes | str, ...]
"""Everything that the parameters of a request follow from."""

Arguments = dict[str, Any]
"""Those of an endpoint except its request."""

Endpoint = Callable[..., Coroutine[Any, Any, Response]]


class MemoizingRoute(StrictRoute):
    """A route that keeps the parameters of requests. Its endpoint has an argument `request`, and no body.

    Parameters must not be changed: several requests share them. What is refused is never kept.
    """

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        self._kept: dict[Key, Arguments] = {}
        self._called = endpoint
        super().__init__(path, self._keeping(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the framework, for parameters that are not known yet; for others the endpoint itself."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            arguments = self._kept.get(self._key(request))
            if arguments is None:
                return await handler(request)
            return await self._called(request=request, **arguments)

        return handle

    def _keeping(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, which keeps its arguments whenever the framework calls it."""

        @wraps(endpoint)
        async def called(request: Request, **arguments: Any) -> Response:
            self._keep(self._key(request), arguments)
            return await endpoint(request=request, **arguments)

        return called

    def _keep(self, key: Key, arguments: Arguments) -> None:
        if sum(map(len, key)) > LONGEST_KEY:
            return
        if len(self._kept) >= MOST_ENTRIES:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = arguments

    def _key(self, request: Request) -> Key:
        scope = request.scope
        read = (part for field in scope["headers"] if field[0] in self._read for part in field)
        return (*scope["path_params"].values(), scope["query_string"], *read)

    @cached_property
    def _read(self) -> frozenset[bytes]:
        """The names of the headers that are parameters, in lower case."""
        names = (parameter.alias for parameter in self.dependant.header_params)
        return frozenset(name for name, _ in Headers(dict.fromkeys(names, "")).raw)
