"""Sends one image over HTTP, with retries."""

import base64
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from time import monotonic

import httpx

from client.outage import Outage

BAD_GATEWAY = 502
"""Status of a proxy whose service has not answered."""

RETRYABLE_STATUSES = frozenset({408, 429, 503})
"""Statuses after which the same request may succeed."""

TEMPORARY_PROBLEMS = frozenset({"/problems/draining", "/problems/model-unavailable"})
"""Problem types of a service that starts or stops, if the answer has a Retry-After."""

UNKNOWN_MODEL = "/problems/unknown-model"
"""Problem type of a model that the service does not have."""

SHARED_PROBLEMS = frozenset({UNKNOWN_MODEL, "/problems/not-found"})
"""Problem types that every image would have."""

OPTION_PROBLEMS = frozenset({"/problems/invalid-request", "/problems/not-acceptable"})
"""Problem types that are caused by the options alone, or by the options with this image."""

PROBE_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYGAAAAAEAAHI6uv5AAAAAElFTkSuQmCC"
)
"""A PNG of one black pixel. If it is refused with the same problem as an image, the options are the cause."""

MAX_WAIT_SECONDS = 60.0
"""Longest pause before the next attempt."""

MAX_POLL_SECONDS = 4.0
"""Longest backoff while the service is unavailable."""


class Refused(Exception):
    """There is no result: the service refused or did not answer. The message says why."""


class RefusedForAll(Refused):
    """Refused for a reason that holds for every image."""


class UnknownModel(RefusedForAll):
    """The service has no model of that name."""

    def __init__(self, detail: str, available: Sequence[str]) -> None:
        """`available`: the names of the models that there are."""
        super().__init__(detail)
        self.available = available


class Unavailable(RefusedForAll):
    """The service was unavailable for longer than the client waits."""


@dataclass(frozen=True)
class Call:
    """The request that is made for every image."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: int = 10
    method: str = "POST"


class Cause(Enum):
    """Why a request failed."""

    UNAVAILABLE = auto()
    """No connection, or the service starts or stops: it did not process the image."""
    CONNECTION_LOST = auto()
    """The connection ended during the request; the image may have caused it, for example by its size."""
    BUSY = auto()
    """The service is overloaded or timed out."""
    FINAL = auto()
    """The same image would get the same answer again."""


@dataclass(frozen=True)
class Failure:
    """A request without a result."""

    cause: Cause
    refusal: Refused
    retry_after: float | None = None
    """Seconds of the Retry-After, None without one."""

    @property
    def outage(self) -> bool:
        """Whether the service is unavailable, or became so during the request."""
        return self.cause in (Cause.UNAVAILABLE, Cause.CONNECTION_LOST)


async def exchange(client: httpx.AsyncClient, call: Call, content: bytes, outage: Outage) -> httpx.Response:
    """Send one image until there is a result, and return the answer.

    A busy service, or one that closed the connection, is asked again up to `call.retries` times, after its Retry-After
    or with exponential backoff. An unavailable one is waited for as long as `outage` allows. Raises Refused,
    RefusedForAll or Unavailable.
    """
    attempt, retries = 0, call.retries
    while True:
        sent_at = monotonic()
        result = await _send(client, call, content)
        if isinstance(result, httpx.Response) or not result.outage:
            outage.end()
        if isinstance(result, httpx.Response):
            return result
        retries -= result.cause is not Cause.UNAVAILABLE
        if result.cause is Cause.FINAL or retries < 0:
            raise result.refusal
        await _pause(result, attempt, sent_at, outage)
        attempt += 1


async def _pause(failure: Failure, attempt: int, sent_at: float, outage: Outage) -> None:
    longest = MAX_POLL_SECONDS if failure.outage else MAX_WAIT_SECONDS
    seconds = failure.retry_after if failure.retry_after is not None else _backoff(attempt, longest)
    if not failure.outage:
        await outage.sleep(seconds)
    elif not await outage.wait(seconds, sent_at, str(failure.refusal)):
        raise Unavailable(f"{failure.refusal}; gave up after {outage.patience:g} s") from failure.refusal


async def _send(client: httpx.AsyncClient, call: Call, content: bytes) -> httpx.Response | Failure:
    try:
        answer = await _request(client, call, content)
    except httpx.TransportError as error:
        return Failure(_classify_error(error), Refused(f"no answer from {client.base_url}: {_describe_error(error)}"))
    if answer.is_success:
        return answer
    cause, (kind, detail) = _classify_response(answer), _read_problem(answer)
    final = cause is Cause.FINAL and await _affects_all_images(client, call, kind, detail)
    if kind == UNKNOWN_MODEL:
        return Failure(cause, UnknownModel(detail, _read_available(answer)))
    return Failure(cause, RefusedForAll(detail) if final else Refused(detail), _retry_after(answer))


async def _request(client: httpx.AsyncClient, call: Call, content: bytes) -> httpx.Response:
    return await client.request(call.method, call.path, params=call.query, headers=call.headers, content=content)


async def _affects_all_images(client: httpx.AsyncClient, call: Call, kind: str, detail: str) -> bool:
    """Whether every image would be refused. For problems of the options a probe image must get the same problem."""
    if kind not in OPTION_PROBLEMS:
        return kind in SHARED_PROBLEMS
    try:
        return _read_problem(await _request(client, call, PROBE_IMAGE)) == (kind, detail)
    except httpx.TransportError:
        return False


def _classify_error(error: httpx.TransportError) -> Cause:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Cause.UNAVAILABLE
        case httpx.TimeoutException():
            return Cause.BUSY
        case _:
            return Cause.CONNECTION_LOST


def _classify_response(answer: httpx.Response) -> Cause:
    if answer.status_code == BAD_GATEWAY:
        return Cause.CONNECTION_LOST
    if _read_problem(answer)[0] in TEMPORARY_PROBLEMS and _retry_after(answer) is not None:
        return Cause.UNAVAILABLE
    return Cause.BUSY if answer.status_code in RETRYABLE_STATUSES else Cause.FINAL


def _read_problem(answer: httpx.Response) -> tuple[str, str]:
    """Type and detail of the problem (RFC 9457). Without one, an empty type and the status as the detail."""
    try:
        problem = answer.json()
        return str(problem["type"]), str(problem["detail"])
    except (ValueError, LookupError, TypeError):
        return "", f"HTTP {answer.status_code}"


def _read_available(answer: httpx.Response) -> list[str]:
    """The names in the member `available` of a problem of an unknown model; empty where there are none."""
    available = answer.json().get("available", [])
    return [str(name) for name in available] if isinstance(available, list) else []


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds from a number or a date (RFC 9110, section 10.2.3), at most MAX_WAIT_SECONDS; None without either."""
    retry_after = answer.headers.get("Retry-After", "")
    if retry_after.isdecimal():
        return min(float(retry_after), MAX_WAIT_SECONDS)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    seconds: float = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)


def _backoff(attempt: int, longest: float) -> float:
    """Exponential backoff with jitter, from 0.25 s up, so that clients do not return all at once."""
    return min(longest, 0.25 * float(2 ** min(attempt, 32))) * random.uniform(0.5, 1.0)


def _describe_error(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
