"""Failures as HTTP responses: problem details (RFC 9457)."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Scope

from service.errors import (
    BodyTimeout,
    Draining,
    Forbidden,
    InvalidRequest,
    MalformedJson,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    OutOfResources,
    ServiceError,
    Unauthorized,
    UnsupportedCoding,
)
from service.http.root_path import root_path, route_path
from service.pipeline.trace import Trace

PROBLEM_MEDIA_TYPE = "application/problem+json"

REALM = 'Bearer realm="pastiche"'
"""How a key is sent (RFC 6750, section 3)."""

Renderer = Callable[[ServiceError, str, str], Response]
"""Makes the response to a failed request from the failure, the request's id and the prefix of all paths."""


class Problem(BaseModel):
    """The body of every response that is not a success (RFC 9457, section 3)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URI of the kind of problem; a GET on it explains the kind")
    title: str = Field(description="the kind of problem in words, always the same for one type")
    status: int = Field(description="the HTTP status again")
    detail: str = Field(description="what was wrong with this request, and what would have been accepted")
    instance: str = Field(description="the request's id, as in X-Request-ID")

    @classmethod
    def of(cls, error: ServiceError, instance: str, prefix: str = "") -> Self:
        """The problem details of a failure of the request with that id; `prefix` is that of all paths."""
        known = {"type": f"{prefix}/problems/{error.kind}", "title": error.title, "status": error.status}
        return cls.model_validate({**error.members, **known, "detail": error.detail, "instance": instance})


@dataclass(frozen=True)
class Problems:
    """Responds to failures, wherever they are found."""

    renderers: Mapping[str, Renderer] = field(default_factory=dict)
    """Of paths, and of all below them, whose clients expect another format; all others get what `render` makes."""

    def response(self, scope: Scope, failure: ServiceError) -> Response:
        """The response to a failed request, which its trace then knows of."""
        trace: Trace = scope["state"]["trace"]
        trace.problem = failure.kind
        renderer = self.renderer(route_path(scope))
        return renderer(failure, trace.request_id, root_path(scope))

    def renderer(self, path: str) -> Renderer:
        """What makes the responses at a path, which has no prefix."""
        found = (renderer for known, renderer in self.renderers.items() if f"{path}/".startswith(f"{known}/"))
        return next(found, render)

    async def handle(self, request: Request, error: Exception) -> Response:
        """The response to an exception, the framework's own included."""
        return self.response(request.scope, translate(request, error))

    def install(self, app: FastAPI) -> None:
        """Handle every failure of `app`."""
        for failure in (ServiceError, RequestValidationError, HTTPException, Exception):
            app.add_exception_handler(failure, self.handle)


def render(error: ServiceError, instance: str, prefix: str = "") -> JSONResponse:
    """A failure as application/problem+json; `instance` is the request's id, `prefix` that of all paths."""
    headers = {"X-Content-Type-Options": "nosniff"} | failure_headers(error, instance)
    content = Problem.of(error, instance, prefix).model_dump()
    return JSONResponse(content, error.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def failure_headers(error: ServiceError, instance: str) -> dict[str, str]:
    """The headers that every response to this failure has, whatever its body."""
    headers = {"X-Request-ID": instance, "Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))  # RFC 9110, section 10.2.3: digits alone
    match error:
        case NotAcceptable():
            headers["Vary"] = "Accept"
        case MethodNotAllowed():
            headers["Allow"] = str(error.members["allowed"])
        case UnsupportedCoding():
            headers["Accept-Encoding"] = ", ".join(error.members["accepted"])
        case Unauthorized():
            fault = error.members.get("error")
            headers["WWW-Authenticate"] = f'{REALM}, error="{fault}"' if fault else REALM
        case Forbidden():
            headers["WWW-Authenticate"] = f'{REALM}, error="insufficient_scope", scope="{error.members["right"]}"'
        case BodyTimeout() | Draining():
            headers["Connection"] = "close"
        case _ if type(error) in (ServiceError, OutOfResources):
            headers["Connection"] = "close"  # uvicorn closes it after an exception, which clients must know
    return headers


def translate(request: Request, error: Exception) -> ServiceError:
    """The framework's exceptions as ours. An unexpected one becomes a 500 that reveals nothing of its cause.

    Unless the system lacks resources: that is a 503, as it passes.
    """
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return _malformed_json(error) or _invalid_request(error)
        case HTTPException(status_code=400):
            malformed = MalformedJson("the body cannot be parsed; send JSON in UTF-8, as /openapi.json describes it")
            return OutOfResources.of(error) or malformed
        case HTTPException(status_code=404):
            known = request.app.openapi_url
            hint = f"; {root_path(request.scope)}{known} lists the paths" if known else ""
            return NotFound(f"there is nothing at {request.scope['path']}{hint}")
        case HTTPException(status_code=405):
            allowed = ", ".join(sorted(_methods(request)))
            return MethodNotAllowed(f"{request.scope['path']} accepts {allowed}", allowed=allowed)
        case _:
            unknown = ServiceError("the service failed; its log has the cause under this request's id")
            return OutOfResources.of(error) or unknown


def _methods(request: Request) -> set[str]:
    """The methods of all routes of a path (RFC 9110, section 10.2.1); those of files where it has no such route."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = [route.methods or () for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = set().union(*found) or {"GET"}
    return methods | ({"HEAD"} if "GET" in methods else set())


def _malformed_json(error: RequestValidationError) -> MalformedJson | None:
    """Of a body that is no JSON, with the place of the fault."""
    for fault in error.errors():
        if fault["type"] == "json_invalid":
            what = f"{fault['ctx']['error']} at character {fault['loc'][-1]}"
            return MalformedJson(f"the body cannot be parsed: {what}; send JSON in UTF-8")
    return None


def _invalid_request(error: RequestValidationError) -> InvalidRequest:
    optional = {tuple(fault["loc"][:-1]) for fault in error.errors() if fault["type"] == "none_required"}
    faults = [_describe(fault, optional) for fault in error.errors() if fault["type"] != "none_required"]
    detail = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults)
    return InvalidRequest(detail, errors=faults)


def _describe(fault: Mapping[str, Any], optional: Collection[tuple[str | int, ...]]) -> dict[str, str]:
    """Where the fault is and what it is. Of an optional value, pydantic adds its type's name to the place: dropped."""
    where = tuple(fault["loc"])
    where = where[:-1] if where[:-1] in optional else where
    match fault["type"]:
        case "extra_forbidden":
            what = "there is no such field; /openapi.json lists those that there are"
        case "model_attributes_type" if where == ("body",):
            what = "a JSON object is wanted, with the header Content-Type: application/json"
        case "union_tag_not_found":
            where, what = (*where, fault["ctx"]["discriminator"].strip("'")), "Field required"
        case _:
            what = str(fault["msg"])
    return {"where": ".".join(map(str, where)), "what": what}
