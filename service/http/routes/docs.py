"""`GET /docs`: the interactive documentation, without scripts of others."""

import base64
import hashlib
import re

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

from service.http.root_path import root_path
from service.http.routers import new_router

STATIC = "/static-offline-docs"
"""Where fastapi_offline has Swagger UI's files."""

INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def docs_router(title: str) -> APIRouter:
    """The router of `/docs`."""
    router = new_router(include_in_schema=False)

    async def docs(request: Request) -> HTMLResponse:
        """Swagger UI; its one inline script is allowed by its hash."""
        prefix = root_path(request.scope)
        page = get_swagger_ui_html(
            openapi_url=f"{prefix}/openapi.json",
            title=title,
            swagger_js_url=f"{prefix}{STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f"{prefix}{STATIC}/swagger-ui.css",
            swagger_favicon_url=f"{prefix}{STATIC}/favicon.png",
        )
        page.headers["Content-Security-Policy"] = content_security_policy(bytes(page.body).decode())
        return page

    router.add_api_route("/docs", docs, response_class=HTMLResponse)
    return router


def content_security_policy(page: str) -> str:
    """What Swagger UI needs: the page's own scripts, styles that they set, and pictures that the service answers."""
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in INLINE_SCRIPT.findall(page)]
    scripts = " ".join(f"'sha256-{found}'" for found in hashes)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
