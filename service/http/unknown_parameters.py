"""Strict query parameters: unknown and repeated ones are refused, since they would be ignored silently."""

from collections import Counter
from typing import Any

from fastapi import Request

from service.errors import InvalidRequest


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every route. Raises InvalidRequest with the parameters that the route has, or that come twice."""
    if not request.query_params:
        return  # nothing to refuse: the OpenAPI document, which takes some tenths of a second, is not needed
    counted = Counter(name for name, _ in request.query_params.multi_items())
    if repeated := sorted(name for name, count in counted.items() if count > 1):
        raise InvalidRequest("; ".join(f"query.{name}: given more than once; send it once" for name in repeated))
    known = _known_parameters(request)
    if unknown := sorted(set(request.query_params) - known):
        names = ", ".join(sorted(known)) or "none"
        detail = "; ".join(f"query.{name}: no such parameter" for name in unknown)
        raise InvalidRequest(f"{detail}; {request.scope['route'].path} knows {names}", known=sorted(known))


def _known_parameters(request: Request) -> set[str]:
    """The query parameters that the OpenAPI document has for the route."""
    path: dict[str, Any] = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    parameters = path.get(request.method.lower(), {}).get("parameters", [])
    return {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
