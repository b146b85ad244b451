"""`GET /problems`: what the types of problems mean; and how problems appear in the OpenAPI document."""

import inspect
from typing import Annotated

from fastapi import Path, Request
from pydantic import BaseModel

from service.errors import NotFound, ServiceError
from service.http.problem_responses import problem_responses
from service.http.root_path import root_path
from service.http.routers import new_router


class ProblemKind(BaseModel):
    """One kind of problem."""

    type: str
    title: str
    status: int
    meaning: str


class ProblemRoutes:
    """The pages that the type URIs of problems lead to."""

    def __init__(self) -> None:
        self.router = new_router(tags=["problems"], refusals=(421, 422, 429))
        self.router.add_api_route("/problems", self.every)
        self.router.add_api_route("/problems/{kind}", self.one, responses=problem_responses(404))

    async def every(self, request: Request) -> list[ProblemKind]:
        """Every kind of problem that an answer can have."""
        return [_describe(kind, root_path(request.scope)) for kind in ServiceError.kinds()]

    async def one(
        self, request: Request, kind: Annotated[str, Path(description="the last part of a problem's type")]
    ) -> ProblemKind:
        """What one kind of problem means."""
        for candidate in ServiceError.kinds():
            if candidate.kind == kind:
                return _describe(candidate, root_path(request.scope))
        raise NotFound(f"there is no problem of the kind {kind!r}; /problems lists all")


def _describe(kind: type[ServiceError], prefix: str) -> ProblemKind:
    meaning = inspect.getdoc(kind) or kind.title
    return ProblemKind(type=f"{prefix}/problems/{kind.kind}", title=kind.title, status=kind.status, meaning=meaning)
