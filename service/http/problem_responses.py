"""What the OpenAPI document says of failures."""

from functools import cache
from typing import Any

from service.errors import ServiceError
from service.http.problems import PROBLEM_MEDIA_TYPE, Problem


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The failures of an endpoint for the OpenAPI document."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": _problem_schema()}}
    return {status: {"description": titles_of(status), "content": content} for status in statuses}


@cache
def titles_of(status: int) -> str:
    """The titles of all problems with that status."""
    return "; ".join(kind.title for kind in ServiceError.kinds() if kind.status == status)


@cache
def _problem_schema() -> dict[str, Any]:
    return Problem.model_json_schema()
