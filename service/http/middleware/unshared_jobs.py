"""ASGI middleware for one of several processes that share no jobs: it has none, which the others would not know."""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import JobsNotShared
from service.http.problems import Problems
from service.http.root_path import route_path

JOBS = "/v1/jobs"

PREFERENCE = b"prefer"
"""The header field that can ask for a job."""


class UnsharedJobs:
    """Refuses `/v1/jobs`, and does not apply the preference for a job (RFC 7240, section 2)."""

    def __init__(self, app: ASGIApp, problems: Problems) -> None:
        self._app = app
        self._problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            if concerns_jobs(route_path(scope)):
                app = self._problems.response(scope, JobsNotShared())
            # not in a copy, for others read in this scope what the router writes into it
            scope["headers"] = [field for field in scope["headers"] if field[0] != PREFERENCE]
        await app(scope, receive, send)


def concerns_jobs(path: str) -> bool:
    """Whether a path is that of the jobs, of one, or of its result."""
    return f"{path}/".startswith(f"{JOBS}/")
