"""The failures of the service: each an exception with its HTTP status, its metric label and its title.

They are raised where a failure is found, with a detail that says what would have been accepted. `service.http.problems`
turns them into responses.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

EXHAUSTED = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
)
"""What the system answers while it lacks descriptors, memory or disk space, or gives this process no larger files."""


class ServiceError(Exception):
    """The service has a fault of its own, which its log tells under the request's id."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal-error"
    """The metric label, and the last part of the problem's type URI."""
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled without the constructor, which some kinds have of their own."""
        return _restore, (type(self), self.args), self.__dict__

    @classmethod
    def kinds(cls) -> Iterator[type["ServiceError"]]:
        """This class and everything derived from it, depth first."""
        yield cls
        for subclass in cls.__subclasses__():
            yield from subclass.kinds()


def _restore(kind: type[ServiceError], arguments: tuple[object, ...]) -> ServiceError:
    return kind.__new__(kind, *arguments)


class InvalidRequest(ServiceError):
    """A parameter of the path or the query is missing or out of bounds."""

    status = 422
    kind = "invalid-request"
    title = "A parameter is not valid"


class MalformedRequest(ServiceError):
    """The bytes on the connection are no HTTP/1.1 request, or could be read in two ways; the connection is closed."""

    status = 400
    kind = "malformed-request"
    title = "The request is not HTTP/1.1"


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


class HeadTimeout(ServiceError):
    """The request line and the header did not arrive in time."""

    status = 408
    kind = "head-timeout"
    title = "The header did not arrive in time"


class BodyTimeout(ServiceError):
    """The body did not arrive in time, or arrives too slowly."""

    status = 408
    kind = "body-timeout"
    title = "The body did not arrive in time"


class BodyTooLarge(ServiceError):
    """The body has more bytes than are accepted, by its Content-Length or counted as it arrives."""

    status = 413
    kind = "body-too-large"
    title = "The body is too large"


class TargetTooLong(ServiceError):
    """The URL has more bytes than are accepted."""

    status = 414
    kind = "target-too-long"
    title = "The URL is too long"


class HeaderTooLarge(ServiceError):
    """The header has more fields, or more bytes, than are accepted."""

    status = 431
    kind = "header-too-large"
    title = "The header is too large"


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


class ImageTooDemanding(ServiceError):
    """To read, decode or encode the image takes more processor time or memory than an image of its size is given."""

    status = 422
    kind = "image-too-demanding"
    title = "The image takes too much to process"


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


class Unauthorized(ServiceError):
    """The request has no API key, or one that is not accepted; WWW-Authenticate says how to send one."""

    status = 401
    kind = "unauthorized"
    title = "An API key is needed"


class Forbidden(ServiceError):
    """The API key does not have the right that the path needs; `right` names it."""

    status = 403
    kind = "forbidden"
    title = "The API key does not have the right"


class UnknownHost(ServiceError):
    """The Host header names none of the hosts that this service answers for."""

    status = 421
    kind = "unknown-host"
    title = "The service does not answer for this host"


class QuotaExceeded(ServiceError):
    """The client has used up its own limit (`violated-policies` names it); Retry-After says when to try again."""

    status = 429
    kind = "quota-exceeded"
    title = "The client has used up its limit"


class UnknownVersion(ServiceError):
    """The model has no such version; `available` lists those it has."""

    status = 404
    kind = "unknown-version"
    title = "No such version"


class VersionRefused(ServiceError):
    """The version cannot be served: it is damaged, or this device does not reproduce its golden output."""

    status = 409
    kind = "version-refused"
    title = "The version cannot be served"


class StoreUnwritable(ServiceError):
    """The store of the model cannot be written, so that nothing can be promoted in it."""

    status = 503
    kind = "store-unwritable"
    title = "The model store cannot be written"


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


class IdempotencyKeyReused(ServiceError):
    """A request with that Idempotency-Key has begun a job, for another image or with other parameters."""

    status = 422
    kind = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"


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


class JobFailed(ServiceError):
    """The job failed by what may pass, and stays so: its result never comes. `problem` says why, as in its state."""

    status = 424
    kind = "job-failed"
    title = "The job has failed"


class ResultTooLarge(ServiceError):
    """The result of the job alone exceeds the bytes that are kept of all jobs."""

    status = 507
    kind = "result-too-large"
    title = "The result is too large to be kept"


class TooManyJobs(ServiceError):
    """As many jobs are unfinished as are accepted, in number or in bytes; or they leave no room for a result."""

    status = 503
    kind = "too-many-jobs"
    title = "Too many jobs are unfinished"


class JobsUnavailable(ServiceError):
    """The store of the jobs cannot be used: its folder, which may belong to another service, or its Redis server."""

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


class TooManyConnections(ServiceError):
    """As many connections are open as are accepted; Retry-After says when to try again."""

    status = 503
    kind = "too-many-connections"
    title = "Too many connections are open"


class TooManyUploads(ServiceError):
    """The bodies of other requests take the memory that there is for bodies; Retry-After says when to try again."""

    status = 503
    kind = "too-many-uploads"
    title = "Too many bytes of bodies are in memory"


class OutOfResources(ServiceError):
    """The system lacks memory, descriptors or disk space at this moment; the request is not at fault."""

    status = 503
    kind = "out-of-resources"
    title = "The system lacks memory, descriptors or disk space"

    RETRY_SECONDS: ClassVar[int] = 5

    @classmethod
    def of(cls, error: BaseException) -> Self | None:
        """The failure that an exception, or what it was raised from, amounts to; None where that is another one."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in EXHAUSTED):
                lacks = (isinstance(cause, OSError) and cause.strerror) or "out of memory"
                detail = f"the system lacks resources ({lacks}); retry in {cls.RETRY_SECONDS} s"
                return cls(detail, retry_after=cls.RETRY_SECONDS)
            cause = cause.__cause__ or cause.__context__
        return None


class ReplicaLost(ServiceError):
    """The replica that computed the answer has ended, and so has the one that was asked after it."""

    status = 503
    kind = "replica-lost"
    title = "The replica that computed the answer has ended"

    def __init__(self) -> None:
        super().__init__("a replica ended before it had answered; send the same request again", retry_after=1)


class JobsNotShared(ServiceError):
    """There are several replicas, and no store of jobs that they share: none would know the jobs of another."""

    status = 501
    kind = "jobs-not-shared"
    title = "There are no jobs here"

    def __init__(self) -> None:
        super().__init__("the replicas of this service share no jobs; ask for the image itself, without a job")


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
    """No device computes any more; the service ends, to be started anew."""

    status = 503
    kind = "device-lost"
    title = "The device no longer works"


@contextmanager
def name_exhaustion() -> Iterator[None]:
    """Raise OutOfResources instead of what the block raises where the system lacked resources."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ServiceError) or (exhausted := OutOfResources.of(error)) is None:
            raise
        raise exhausted from error
