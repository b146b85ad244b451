"""`GET /`: where to go from here."""

from fastapi import APIRouter

from service.metrics import package_version


class Home:
    """The way in for somebody who has only the address."""

    def __init__(self) -> None:
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/", self.links)

    async def links(self) -> dict[str, str]:
        """The paths worth knowing."""
        return {
            "service": f"pastiche {package_version()}",
            "documentation": "/docs",
            "models": "/v1/models",
            "stylize": "POST an image to /v1/stylize/{style}",
            "upscale": "POST an image to /v1/upscale/{scale}",
            "jobs": "the same with the header Prefer: respond-async",
            "problems": "/problems",
        }
