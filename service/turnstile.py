"""Refuses at the door while the service is full, for less than it costs to find that out inside.

Clients that retry at once would else take from those who wait the processor that their answers need. A refusal stands
for a moment (`Admission.standing`), and is given after a pause that bounds how often each connection can ask. What is
refused here is counted, but neither timed nor logged.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.admission import Admission
from service.errors import Overloaded, render
from service.metrics import Metrics
from service.served_models import ServedModel
from service.trace import request_id

GUARDED = {"/v1/stylize/": "/v1/stylize/{style}", "/v1/upscale/": "/v1/upscale/{scale}"}
"""How the paths begin of which a full service refuses requests, and their routes' templates."""

PAUSE = 0.045
"""Seconds before a refusal at the door."""


class Turnstile:
    """The outermost ASGI middleware."""

    def __init__(
        self, app: ASGIApp, admission: Admission[ServedModel], metrics: Metrics, default_timeout: float
    ) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics
        self._default_timeout = default_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = _guarded(scope)
        refusal = self._standing(scope) if route else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(PAUSE)
        self._metrics.requests.labels(route, "POST", refusal.status).inc()
        self._metrics.rejected.labels(refusal.kind).inc()
        await render(refusal, request_id(Headers(scope=scope)))(scope, receive, send)

    def _standing(self, scope: Scope) -> Overloaded | None:
        """The refusal that holds for a request; None where its headers are nonsense, which is answered inside."""
        headers = Headers(scope=scope)
        try:
            seconds = float(headers.get("X-Request-Timeout", self._default_timeout))
            length = int(headers.get("Content-Length", 0))
        except ValueError:
            return None
        return self._admission.standing(seconds, scope["path"], length) if seconds > 0 else None


def _guarded(scope: Scope) -> str:
    """The route's template, empty where nothing is refused at the door."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return ""
    return next((route for begin, route in GUARDED.items() if scope["path"].startswith(begin)), "")
