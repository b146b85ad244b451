"""`GET /problems`: what the `type` of a problem means, and how problems are described in the OpenAPI document."""

import inspect
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel

from service.errors import PROBLEM_MEDIA_TYPE, NotFound, Problem, ServiceError, kinds


class ProblemKind(BaseModel):
    """One kind of problem."""

    type: str
    title: str
    status: int
    meaning: str


class Problems:
    """The pages to which the types of problems point."""

    def __init__(self) -> None:
        self.router = APIRouter(tags=["problems"])
        self.router.add_api_route("/problems", self.every)
        self.router.add_api_route("/problems/{kind}", self.one, responses=problems(404))

    async def every(self) -> list[ProblemKind]:
        """Every kind of problem that an answer can have."""
        return [_described(kind) for kind in kinds()]

    async def one(self, kind: Annotated[str, Path(description="the last part of a problem's type")]) -> ProblemKind:
        """What one kind of problem means."""
        for candidate in kinds():
            if candidate.kind == kind:
                return _described(candidate)
        raise NotFound(f"there is no problem of the kind {kind!r}; /problems lists all")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of an endpoint that are not successes, for its OpenAPI description."""
    schema = {"schema": Problem.model_json_schema()}
    content = {PROBLEM_MEDIA_TYPE: schema}
    return {status: {"description": of_status(status), "content": content} for status in statuses}


def of_status(status: int) -> str:
    """The titles of all problems with that status."""
    return "; ".join(kind.title for kind in kinds() if kind.status == status)


def _described(kind: type[ServiceError]) -> ProblemKind:
    meaning = inspect.getdoc(kind) or kind.title
    return ProblemKind(type=f"/problems/{kind.kind}", title=kind.title, status=kind.status, meaning=meaning)
