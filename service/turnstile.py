"""Refuses at the door while the service is full, for less than it costs to find that out inside.

Clients that retry at once would else take from those who wait the processor that their answers need. A refusal stands
for a moment (`StandingRefusals`), and is given at the end of a period, which bounds how often each connection can
ask. Only what got as far as admission before is refused here: what is wrong with a request is said however full the
service is. What is refused here is counted, but neither timed nor logged.
"""

import asyncio
from functools import lru_cache
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from service.admission import Admission
from service.errors import Overloaded, render
from service.metrics import Metrics
from service.preference import Preference
from service.served_models import ServedModel
from service.standing import Question
from service.trace import request_id

GUARDED = {"/v1/stylize/": "/v1/stylize/{style}", "/v1/upscale/": "/v1/upscale/{scale}"}
"""How the paths begin of which a full service refuses requests, and their routes' templates."""

PERIOD = 0.048
"""Seconds, at whose multiples refusals are given: all those together that wait for it, which costs less for each."""

INSTANCE = "instance-of-a-refusal"
"""Stands for the id of a request in what is rendered once for many."""


class Refusal:
    """A refusal as it is sent, but for the id of the request, rendered once for all that get it."""

    def __init__(self, error: Overloaded) -> None:
        answer = render(error, INSTANCE)
        self.error = error
        self._before, self._after = bytes(answer.body).split(INSTANCE.encode())
        own = (b"content-length", b"x-request-id")
        self._headers = [(name, value) for name, value in answer.raw_headers if name not in own]

    async def send(self, send: Send, instance: bytes) -> None:
        """Answer a request of that id."""
        body = b"".join((self._before, instance, self._after))
        headers = [*self._headers, (b"content-length", b"%d" % len(body)), (b"x-request-id", instance)]
        await send({"type": "http.response.start", "status": self.error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Turnstile:
    """The outermost ASGI application: what it refuses costs nothing further in."""

    def __init__(
        self, app: ASGIApp, admission: Admission[ServedModel], metrics: Metrics, default_timeout: float
    ) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics
        self._default_timeout = default_timeout
        self._rendered = lru_cache(maxsize=8)(Refusal)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = _guarded(scope)
        asked = question(scope, self._default_timeout) if route else None
        refusal = self._admission.refusals.of(asked) if asked else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(PERIOD - monotonic() % PERIOD)
        self._metrics.requests.labels(route, "POST", refusal.status).inc()
        self._metrics.rejected.labels(refusal.kind).inc()
        offered = dict(scope["headers"]).get(b"x-request-id", b"")
        await self._rendered(refusal).send(send, request_id(offered.decode("latin-1")).encode())


def question(scope: Scope, default_timeout: float) -> Question | None:
    """What a request's head says of it; None where it is nonsense, or does not say how long the body is."""
    headers = dict(scope["headers"])
    if Preference.of([headers.get(b"prefer", b"").decode("latin-1")]).respond_async:  # a job can wait
        return None
    said = headers.get(b"x-request-timeout")
    try:
        seconds = default_timeout if said is None else float(said)
        length = int(headers[b"content-length"])
    except (KeyError, ValueError):
        return None
    asked = (scope["path"], scope["query_string"].decode("latin-1"), headers.get(b"accept", b"").decode("latin-1"))
    return Question(asked, seconds, said is None, length) if seconds > 0 else None


def _guarded(scope: Scope) -> str:
    """The route's template, empty where nothing is refused at the door."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return ""
    return next((route for begin, route in GUARDED.items() if scope["path"].startswith(begin)), "")
