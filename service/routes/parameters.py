"""Query parameters that a path does not have, or has once, are refused: they would else be ignored without a word."""

from collections import Counter
from typing import Any

from fastapi import Request

from service.errors import InvalidRequest


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route; raises InvalidRequest with the names that the path knows, or that come twice."""
    counted = Counter(name for name, _ in request.query_params.multi_items())
    if twice := sorted(name for name, count in counted.items() if count > 1):
        raise InvalidRequest("; ".join(f"query.{name}: given more than once; send it once" for name in twice))
    unknown = sorted(set(request.query_params) - (known := _known(request)))
    if unknown:
        names = ", ".join(sorted(known)) or "none"
        detail = "; ".join(f"query.{name}: no such parameter" for name in unknown)
        raise InvalidRequest(f"{detail}; {request.scope['route'].path} knows {names}", known=sorted(known))


def _known(request: Request) -> set[str]:
    """As the OpenAPI document has it."""
    path: dict[str, Any] = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    parameters = path.get(request.method.lower(), {}).get("parameters", [])
    return {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
