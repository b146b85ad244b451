"""`GET /`: where to go from here."""

from fastapi import APIRouter, Request

from service.http.root_path import root_path
from service.telemetry.metrics import package_version


def index_router() -> APIRouter:
    """The router of `/`."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", index)
    return router


async def index(request: Request) -> dict[str, str]:
    """The paths worth knowing, for somebody who has only the address."""
    prefix = root_path(request.scope)
    documentation = {"documentation": f"{prefix}/docs"} if request.app.openapi_url else {}
    return {
        "service": f"pastiche {package_version()}",
        **documentation,
        "models": f"{prefix}/v1/models",
        "stylize": f"POST an image to {prefix}/v1/stylize/{{style}}",
        "upscale": f"POST an image to {prefix}/v1/upscale/{{scale}}",
        "jobs": "the same with the header Prefer: respond-async",
        "problems": f"{prefix}/problems",
    }
