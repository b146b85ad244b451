"""`GET /`: where to go from here."""

from fastapi import APIRouter

from service.telemetry.metrics import package_version


def index_router() -> APIRouter:
    """The router of `/`."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", index)
    return router


async def index() -> dict[str, str]:
    """The paths worth knowing, for somebody who has only the address."""
    return {
        "service": f"pastiche {package_version()}",
        "documentation": "/docs",
        "models": "/v1/models",
        "stylize": "POST an image to /v1/stylize/{style}",
        "upscale": "POST an image to /v1/upscale/{scale}",
        "jobs": "the same with the header Prefer: respond-async",
        "problems": "/problems",
    }
