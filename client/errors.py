"""What calls of the service raise. A message says what was wrong, and what would have been accepted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar


class PasticheError(Exception):
    """There is no result."""


class NoAnswer(PasticheError):
    """The service could not be reached, the connection was lost, or nothing came in time."""


class Unavailable(PasticheError):
    """The service was away, or was starting or stopping, for longer than the client waits; the cause says how.

    Or its certificate is not trusted, for which no client waits.
    """


class UnexpectedAnswer(PasticheError):
    """The answer is none of this service: something else may listen at the address."""


@dataclass(frozen=True)
class ProblemDetails:
    """The members of a problem (RFC 9457, section 3)."""

    status: int
    type: str = ""
    title: str = ""
    detail: str = ""
    instance: str = ""
    """The id of the request, as in the log of the service."""
    members: Mapping[str, Any] = field(default_factory=dict)
    """All members, those of the kind of problem included."""

    @property
    def kind(self) -> str:
        """The last part of the type, such as `unknown-model`; empty where the answer was no problem."""
        _, _, kind = self.type.rpartition("/problems/")
        return kind


class Problem(PasticheError):
    """The service refused, or failed. `details` has what it said, `kind` the kind of problem."""

    kinds: ClassVar[frozenset[str]] = frozenset()
    """The kinds of problem of this class; those that no class lists are of the class of their status."""
    statuses: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, details: ProblemDetails, retry_after: float | None = None) -> None:
        """`retry_after`: seconds after which another try makes sense, None where the service named none."""
        super().__init__(details.detail or details.title or f"HTTP {details.status}")
        self.details = details
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled by what it was made of: the processes of a pool hand it on so."""
        return type(self), (self.details, self.retry_after), self.__dict__

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.details.status

    @property
    def kind(self) -> str:
        """The kind of problem, as in the list of `docs/errors.md`; empty where something else answered."""
        return self.details.kind

    @classmethod
    def subclasses(cls) -> Iterator[type["Problem"]]:
        """Everything derived from this class, depth first."""
        for subclass in cls.__subclasses__():
            yield subclass
            yield from subclass.subclasses()


class InvalidRequest(Problem):
    """An option is unknown or out of bounds, or the options do not go together."""

    kinds = frozenset({"invalid-request", "not-acceptable", "malformed-json", "malformed-request"})
    statuses = frozenset(
        {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.METHOD_NOT_ALLOWED,
            HTTPStatus.NOT_ACCEPTABLE,
            HTTPStatus.REQUEST_URI_TOO_LONG,
            HTTPStatus.MISDIRECTED_REQUEST,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    )


class ImageRejected(Problem):
    """This image is not processed: it is none, is damaged, or exceeds a limit."""

    kinds = frozenset(
        {
            "body-too-large",
            "corrupt-image",
            "image-too-demanding",
            "image-too-large",
            "inference-failed",
            "malformed-body",
            "out-of-device-memory",
            "result-too-large",
            "unsupported-coding",
            "unsupported-image",
        }
    )
    statuses = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE})


class AccessDenied(Problem):
    """A key is needed, or this one lacks the right."""

    statuses = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class NotFound(Problem):
    """There is nothing of that name."""

    statuses = frozenset({HTTPStatus.NOT_FOUND})


class UnknownModel(NotFound):
    """The service has no such model."""

    kinds = frozenset({"unknown-model"})

    @property
    def available(self) -> Sequence[str]:
        """The names of the models that there are."""
        names = self.details.members.get("available", [])
        return [str(name) for name in names] if isinstance(names, list) else []


class UnknownJob(NotFound):
    """There is no such job: it never was, was cancelled, or its result has expired."""

    kinds = frozenset({"unknown-job"})


class Conflict(Problem):
    """The job or the version is not in the state that this takes."""

    statuses = frozenset({HTTPStatus.CONFLICT})


class JobUnfinished(Conflict):
    """The job has no result yet."""

    kinds = frozenset({"job-unfinished"})


class TimedOut(Problem):
    """The request did not arrive, or its answer was not ready, within its time."""

    statuses = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT})


class QuotaExceeded(Problem):
    """The client has used up its own limit."""

    statuses = frozenset({HTTPStatus.TOO_MANY_REQUESTS})


class Overloaded(Problem):
    """The service is full, starts or stops, or lacks something that it needs."""

    statuses = frozenset({HTTPStatus.SERVICE_UNAVAILABLE})


class ServiceFailed(Problem):
    """The service has a fault of its own, or the proxy before it does not reach it."""
