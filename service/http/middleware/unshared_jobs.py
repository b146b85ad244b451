"""ASGI middleware for one of several processes that share no jobs: it has none, which the others would not know."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import JobsNotShared
from service.http.problems import Problems
from service.http.root_path import route_path
from service.http.webhooks.sender import CALLBACK_HEADER

JOBS = "/v1/jobs"

PREFERENCE = b"prefer"
"""The header field that can ask for a job."""

CALLBACK = CALLBACK_HEADER.lower().encode()
"""That which only a job can honour."""


class UnsharedJobs:
    """Refuses `/v1/jobs`, and does not apply the preference for a job (RFC 7240, section 2)."""

    def __init__(self, app: ASGIApp, problems: Problems) -> None:
        self._app = app
        self._problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            if concerns_jobs(route_path(scope), scope["headers"]):
                app = self._problems.response(scope, JobsNotShared())
            # not in a copy, for others read in this scope what the router writes into it
            scope["headers"] = [field for field in scope["headers"] if field[0] != PREFERENCE]
        await app(scope, receive, send)


def concerns_jobs(path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request is about the jobs, one of them or its result, or one that it would begin with a callback."""
    return f"{path}/".startswith(f"{JOBS}/") or any(name == CALLBACK for name, _ in headers)
