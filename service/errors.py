"""The failures of the service: each an exception with its HTTP status, its metric label and its title.

They are raised where a failure is found, with a detail that says what would have been accepted. `service.http.problems`
turns them into responses.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self


class ServiceError(Exception):
    """A failure that a client is told of. `kind` is the metric label and the last part of the problem's type URI."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __init__(self, detail: str, *, retry_after: float | None = None, **members: Any) -> None:
        """`members` are further facts for the client, `retry_after` the seconds after which a retry makes sense."""
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.members = members if retry_after is None else members | {"retry_after": retry_after}

    def copy(self, detail: str | None = None) -> Self:
        """The same failure without its traceback; with another detail where one is given."""
        copied = type(self).__new__(type(self))
        ServiceError.__init__(copied, self.detail if detail is None else detail, **self.members)
        return copied

    @classmethod
    def kinds(cls) -> Iterator[type["ServiceError"]]:
        """This class and everything derived from it, depth first."""
        yield cls
        for subclass in cls.__subclasses__():
            yield from subclass.kinds()


class InvalidRequest(ServiceError):
    """A parameter of the path or the query is missing or out of bounds."""

    status = 422
    kind = "invalid-request"
    title = "A parameter is not valid"


class MalformedBody(ServiceError):
    """The body is empty, or a form without exactly one part `image` (and, to stylize, at most one `mask`)."""

    status = 400
    kind = "malformed-body"
    title = "The body does not hold one image"


class MalformedJson(ServiceError):
    """The body is not valid JSON in UTF-8."""

    status = 400
    kind = "malformed-json"
    title = "The body is not valid JSON"


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


class UnsupportedCoding(ServiceError):
    """The body has a Content-Encoding that is not decoded here; `accepted` lists those that are."""

    status = 415
    kind = "unsupported-coding"
    title = "The body has a Content-Encoding that is not accepted"


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
    """There is no job of that id: it never existed, was deleted, or its result has expired."""

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
    """The service is full; Retry-After estimates when there is capacity."""

    status = 503
    kind = "overloaded"
    title = "The service is full"

    pixels = 0
    """Input pixels of the images that were refused, summed over the networks that would have run."""
    frames = 1
    """Frames of the image that was refused."""


class Draining(ServiceError):
    """The service is about to stop; another replica, or a retry, will do."""

    status = 503
    kind = "draining"
    title = "The service is stopping"

    def __init__(self) -> None:
        super().__init__("this replica is stopping; send the same request to another one", retry_after=1)


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
