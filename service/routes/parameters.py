"""Query parameters that a path does not have are refused: a misspelt one would else be ignored without a word."""

from typing import Any

from fastapi import Request

from service.errors import InvalidRequest


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route; raises InvalidRequest with the names that the path knows."""
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
