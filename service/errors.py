"""Each failure with its status and its label, and the one place that renders them (RFC 9457).

A failure is raised where it is found, with a detail that says what would have been accepted. Nothing between there and
`render` decides on a status again.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

PROBLEM_MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """The body of every answer that is not a success (RFC 9457, section 3)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URI of the kind of problem; a GET on it explains the kind")
    title: str = Field(description="the kind of problem in words, always the same for one type")
    status: int = Field(description="the HTTP status again")
    detail: str = Field(description="what was wrong with this request, and what would have been accepted")
    instance: str = Field(description="the request's id, as in X-Request-ID")


class ServiceError(Exception):
    """A failure that has an answer. `kind` is the metric label and the end of the problem's type."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def problem(self, instance: str) -> Problem:
        """The failure as the body of an answer to the request of that id."""
        known = {"type": f"/problems/{self.kind}", "title": self.title, "status": self.status}
        return Problem.model_validate({**self.members, **known, "detail": self.detail, "instance": instance})


class InvalidRequest(ServiceError):
    """A parameter of the path or the query is missing or out of bounds."""

    status = 422
    kind = "invalid-request"
    title = "A parameter is not valid"


class MalformedBody(ServiceError):
    """The body is empty, or a multipart form which has not one part `image` (and, to stylize, one `mask` at most)."""

    status = 400
    kind = "malformed-body"
    title = "The body does not hold one image"


class MalformedJson(ServiceError):
    """The body is no JSON, or not in UTF-8."""

    status = 400
    kind = "malformed-json"
    title = "The body is no JSON"


class BodyTimeout(ServiceError):
    """The body did not arrive in time."""

    status = 408
    kind = "body-timeout"
    title = "The body did not arrive in time"


class BodyTooLarge(ServiceError):
    """The body has more bytes than are accepted, by its Content-Length or counted as it arrives."""

    status = 413
    kind = "body-too-large"
    title = "The body is too large"


class UnsupportedImage(ServiceError):
    """The body is no image of an accepted format, judged by its first bytes."""

    status = 415
    kind = "unsupported-image"
    title = "The body is no image of an accepted format"


class CorruptImage(ServiceError):
    """The image has an accepted format but cannot be decoded."""

    status = 400
    kind = "corrupt-image"
    title = "The image cannot be decoded"


class ImageTooLarge(ServiceError):
    """The image, or what would become of it, exceeds a limit: `limit` names it, with `actual` and `max_accepted`."""

    status = 422
    kind = "image-too-large"
    title = "The image is too large"


class NotAcceptable(ServiceError):
    """The answer cannot be given in a format that was asked for; `available` lists those that can."""

    status = 406
    kind = "not-acceptable"
    title = "No acceptable output format"


class UnknownModel(ServiceError):
    """There is no model of that name for that task; `available` lists those there are."""

    status = 404
    kind = "unknown-model"
    title = "No such model"


class ModelUnavailable(ServiceError):
    """The model is in the store, but no version of it could be loaded."""

    status = 503
    kind = "model-unavailable"
    title = "The model could not be loaded"


class NoPreview(ServiceError):
    """The model was published without a preview picture."""

    status = 404
    kind = "no-preview"
    title = "The model has no preview"


class NotFound(ServiceError):
    """There is nothing at that path."""

    status = 404
    kind = "not-found"
    title = "No such path"


class MethodNotAllowed(ServiceError):
    """The path exists, but not for that method; the Allow header lists those it has."""

    status = 405
    kind = "method-not-allowed"
    title = "The path has no such method"


class UnknownJob(ServiceError):
    """There is no job of that id: it never was, was deleted, or its result has been kept as long as it is kept."""

    status = 404
    kind = "unknown-job"
    title = "No such job"


class JobConflict(ServiceError):
    """A job of that id exists, for another image or with other parameters."""

    status = 409
    kind = "job-conflict"
    title = "The id belongs to another job"


class JobUnfinished(ServiceError):
    """The job has no result yet; Retry-After says when to look again."""

    status = 409
    kind = "job-unfinished"
    title = "The job is not finished"


class JobLost(ServiceError):
    """The job was begun several times, and each time the service ended before it was done."""

    status = 500
    kind = "job-lost"
    title = "The job was interrupted too often"


class ResultTooLarge(ServiceError):
    """The result of the job alone exceeds the bytes that are kept of all jobs."""

    status = 507
    kind = "result-too-large"
    title = "The result is too large to be kept"


class TooManyJobs(ServiceError):
    """As many jobs are unfinished as are accepted, in number or in bytes; Retry-After says when to try again."""

    status = 503
    kind = "too-many-jobs"
    title = "Too many jobs are unfinished"


class JobsUnavailable(ServiceError):
    """The folder of the jobs cannot be used: it cannot be written, or belongs to another service."""

    status = 503
    kind = "jobs-unavailable"
    title = "Jobs are not available"


class Overloaded(ServiceError):
    """As much work is admitted as the service takes on; Retry-After says when that will be done."""

    status = 503
    kind = "overloaded"
    title = "The service has as much work as it takes on"

    pixels = 0
    """Of the images that were refused, as their networks would have taken them."""


class Draining(ServiceError):
    """The service is about to stop; another replica, or a retry, will do."""

    status = 503
    kind = "draining"
    title = "The service is stopping"

    def __init__(self) -> None:
        headers = {"Connection": "close", "Retry-After": "1"}
        super().__init__("this replica is stopping; the same request is accepted by the next one", headers=headers)


class DeadlineExceeded(ServiceError):
    """The answer was not ready within the time that a request is given."""

    status = 504
    kind = "deadline-exceeded"
    title = "The request took too long"


class ClientGone(ServiceError):
    """The client left before its answer was ready. Nobody receives this; it is for logs and metrics."""

    status = 499  # nginx's number; no RFC has one
    kind = "client-gone"
    title = "The client left"


class InferenceFailed(ServiceError):
    """The network did not give a picture for this image, neither in the service's precision nor in fp32."""

    kind = "inference-failed"
    title = "The network failed on this image"


class OutOfDeviceMemory(ServiceError):
    """The device has too little memory for this image, even alone."""

    status = 503
    kind = "out-of-device-memory"
    title = "The device has too little memory for this image"


class DeviceLost(ServiceError):
    """The device no longer computes; the service ends, to be started anew."""

    status = 503
    kind = "device-lost"
    title = "The device no longer works"


Shape = Callable[[ServiceError, str], Response]
"""Answers a failure of the request of that id."""


def kinds(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Every kind of failure there is, the unexpected one first."""
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


def install(app: FastAPI, shapes: Mapping[str, Shape] | None = None) -> None:
    """Answer every failure of `app`, the framework's own included, by `render`, or as the path's own shape has it."""

    async def answer(request: Request, error: Exception) -> Response:
        failure = translate(request, error)
        request.state.trace.problem = failure.kind
        shape = (shapes or {}).get(request.url.path, render)
        return shape(failure, request.state.trace.request_id)

    for failure in (ServiceError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(failure, answer)


def render(error: ServiceError, instance: str) -> JSONResponse:
    """The answer to a failure: problem+json, whose `instance` is the request's id."""
    headers = {"X-Request-ID": instance, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    problem = error.problem(instance).model_dump()
    return JSONResponse(problem, error.status, headers | error.headers, media_type=PROBLEM_MEDIA_TYPE)


def translate(request: Request, error: Exception) -> ServiceError:
    """The framework's failures as ours. The unexpected becomes a 500 that tells nothing of the inside."""
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return _invalid(error)
        case HTTPException(status_code=400):
            return MalformedJson("the body cannot be parsed; send JSON in UTF-8, as /openapi.json describes it")
        case HTTPException(status_code=404):
            return NotFound(f"there is nothing at {request.url.path}; /openapi.json lists the paths")
        case HTTPException(status_code=405):
            allowed = (error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD")
            headers = {"Allow": allowed}
            return MethodNotAllowed(f"{request.url.path} accepts {allowed}", headers=headers, allowed=allowed)
        case _:
            return ServiceError("the service failed; its log has the cause under this request's id")


def _invalid(error: RequestValidationError) -> InvalidRequest:
    optional = {tuple(fault["loc"][:-1]) for fault in error.errors() if fault["type"] == "none_required"}
    faults = [_fault(fault, optional) for fault in error.errors() if fault["type"] != "none_required"]
    detail = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults)
    return InvalidRequest(detail, errors=faults)


def _fault(fault: Mapping[str, Any], optional: Collection[tuple[str | int, ...]]) -> dict[str, str]:
    """What is wrong, and where: of a value that may be left out, without the name of the type that it would have."""
    where = tuple(fault["loc"])
    unknown = fault["type"] == "extra_forbidden"
    what = "there is no such field; /openapi.json lists those that there are" if unknown else str(fault["msg"])
    return {"where": ".".join(map(str, where[:-1] if where[:-1] in optional else where)), "what": what}
