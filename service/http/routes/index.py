"""`GET /`: where to go from here; the web page, where a browser asks."""

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute

from service.http.content_negotiation import Accept
from service.http.root_path import root_path
from service.http.routers import new_router
from service.http.routes.playground import PlaygroundRoutes
from service.telemetry.metrics import package_version

VARY = {"Vary": "Accept"}


class IndexRoutes:
    """GET /."""

    def __init__(self, playground: PlaygroundRoutes | None) -> None:
        """`playground`: None where the settings switch it off."""
        self._playground = playground
        # A link to the page may come with parameters that other sites have added.
        self.router = new_router(include_in_schema=False, route_class=APIRoute)
        self.router.add_api_route("/", self.index, response_class=Response)

    async def index(self, request: Request) -> Response:
        """The web page for browsers, and the paths worth knowing for all others."""
        if self._playground is None or not Accept.parse(request.headers.getlist("Accept")).prefers_html:
            return JSONResponse(_links(request), headers=VARY)
        if _lacks_slash(request):
            return RedirectResponse(f"{root_path(request.scope)}/", 307, headers=VARY)
        page = self._playground.page(request)
        page.headers.update(VARY)
        return page


def _lacks_slash(request: Request) -> bool:
    """Whether a prefix was asked for without the slash that relative links need after it."""
    prefix = root_path(request.scope)
    return bool(prefix) and request.scope["raw_path"] == prefix.encode()


def _links(request: Request) -> dict[str, str]:
    """For somebody who has only the address."""
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
