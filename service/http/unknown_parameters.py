"""Strict query parameters: unknown and repeated ones are refused, since they would be ignored silently."""

from collections import Counter
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any

from fastapi import Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from service.errors import InvalidRequest


class StrictRoute(APIRoute):
    """A route that knows its query parameters, and takes no others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the framework, after the parameters were checked. It raises InvalidRequest."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.query_params:
                self._check(request)
            return await handler(request)

        return handle

    def _check(self, request: Request) -> None:
        """Raises InvalidRequest with the parameters that the route has, or that come twice."""
        counted = Counter(name for name, _ in request.query_params.multi_items())
        if repeated := sorted(name for name, count in counted.items() if count > 1):
            raise InvalidRequest("; ".join(f"query.{name}: given more than once; send it once" for name in repeated))
        if unknown := sorted(counted.keys() - self._known):
            names = ", ".join(sorted(self._known)) or "none"
            detail = "; ".join(f"query.{name}: no such parameter" for name in unknown)
            raise InvalidRequest(f"{detail}; {self.path} knows {names}", known=sorted(self._known))

    @cached_property
    def _known(self) -> frozenset[str]:
        """The query parameters that an OpenAPI document has for this route."""
        document = get_openapi(title=self.name, version="1", routes=[self])
        operations: dict[str, Any] = document["paths"].get(self.path_format, {})
        parameters = (parameter for operation in operations.values() for parameter in operation.get("parameters", ()))
        return frozenset(parameter["name"] for parameter in parameters if parameter["in"] == "query")
