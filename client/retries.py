"""Sends a request until there is an answer, as long as that makes sense."""

import math
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from time import monotonic

import httpx

from client.errors import NoAnswer, PasticheError, Unavailable
from client.flow import Flow, Pause, Send
from client.outage import Outage
from client.problems import MAX_WAIT_SECONDS, read_problem, retry_after
from client.request import Request

BAD_GATEWAY = 502
"""Status of a proxy whose service has not answered."""

RETRYABLE_STATUSES = frozenset({408, 429, 503})
"""Statuses after which the same request may succeed."""

TEMPORARY_KINDS = frozenset({"draining", "model-unavailable"})
"""Problems of a service that starts or stops, if the answer has a Retry-After."""

MAX_POLL_SECONDS = 4.0
"""Longest backoff while the service is unavailable."""

LEAST_SECONDS = 0.001
"""What an attempt is given at the least; the first one also where the deadline is 0."""


class Cause(Enum):
    """Why a request failed."""

    UNAVAILABLE = auto()
    """No connection, or the service starts or stops: it did not process the request."""
    CONNECTION_LOST = auto()
    """The connection ended during the request; the image may have caused it, for example by its size."""
    BUSY = auto()
    """The service is overloaded or timed out."""
    FINAL = auto()
    """The same request would get the same answer again."""


@dataclass(frozen=True)
class Failure:
    """A request without a result."""

    cause: Cause
    error: PasticheError
    retry_after: float | None = None
    """Seconds of the Retry-After, None without one."""

    @property
    def outage(self) -> bool:
        """Whether the service is unavailable, or became so during the request."""
        return self.cause in (Cause.UNAVAILABLE, Cause.CONNECTION_LOST)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and for how long a request is sent again."""

    retries: int = 5
    """How often, after a busy service or a lost connection."""
    patience: float = 30.0
    """Seconds for which a service that is away, starts or stops is waited for."""
    deadline: float = math.inf
    """Seconds after which a call is not tried again, however it failed."""
    clock: Callable[[], float] = field(default=monotonic, repr=False)


def exchange(request: Request, policy: RetryPolicy, outage: Outage | None = None) -> Flow[httpx.Response]:
    """Send one request until there is a result, and return the answer, a success.

    A busy service, or one that closed the connection, is asked again up to `policy.retries` times, after its
    Retry-After or with exponential backoff. An unavailable one is waited for as long as `outage` allows. Raises
    Problem, NoAnswer, or Unavailable.
    """
    outage = outage or Outage(policy.patience)
    attempt, retries, end = 0, policy.retries, policy.clock() + policy.deadline
    while True:
        sent_at = policy.clock()
        result = yield from _attempt(request, max(end - sent_at, LEAST_SECONDS))
        if isinstance(result, httpx.Response) or not result.outage:
            outage.end()
        if isinstance(result, httpx.Response):
            return result
        retries -= result.cause is not Cause.UNAVAILABLE
        if result.cause is Cause.FINAL or retries < 0:
            raise result.error
        pause = _pause(result, attempt, sent_at, outage, policy)
        if policy.clock() + pause >= end:
            raise result.error
        yield Pause(pause)
        attempt += 1


def _attempt(request: Request, seconds: float) -> Flow[httpx.Response | Failure]:
    reply = yield Send(request, seconds)
    assert reply is not None, "only a Pause is answered with None"
    return _read(reply)


def _pause(failure: Failure, attempt: int, sent_at: float, outage: Outage, policy: RetryPolicy) -> float:
    longest = MAX_POLL_SECONDS if failure.outage else MAX_WAIT_SECONDS
    seconds = failure.retry_after if failure.retry_after is not None else _backoff(attempt, longest)
    if not failure.outage:
        return seconds
    pause = outage.pause(seconds, sent_at, policy.clock(), str(failure.error))
    if pause is None:
        raise Unavailable(f"{failure.error}; gave up after {outage.patience:g} s") from failure.error
    return pause


def _read(reply: httpx.Response | httpx.RequestError) -> httpx.Response | Failure:
    if isinstance(reply, httpx.RequestError):
        return _distrust(reply) or Failure(_classify_error(reply), no_answer(reply))
    if reply.is_success:
        return reply
    problem, seconds = read_problem(reply), retry_after(reply)
    return Failure(_classify(reply.status_code, problem.kind, seconds), problem, seconds)


def _distrust(error: httpx.RequestError) -> Failure | None:
    """The failure of a service whose certificate is not trusted, which no waiting changes; None of any other error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return None if cause is None else Failure(Cause.FINAL, Unavailable(str(no_answer(error))))


def _classify_error(error: httpx.RequestError) -> Cause:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Cause.UNAVAILABLE
        case httpx.TimeoutException():
            return Cause.BUSY
        case httpx.LocalProtocolError() | httpx.UnsupportedProtocol():
            return Cause.FINAL
        case _:
            return Cause.CONNECTION_LOST


def _classify(status: int, kind: str, seconds: float | None) -> Cause:
    if status == BAD_GATEWAY:
        return Cause.CONNECTION_LOST
    if kind in TEMPORARY_KINDS and seconds is not None:
        return Cause.UNAVAILABLE
    return Cause.BUSY if status in RETRYABLE_STATUSES else Cause.FINAL


def _backoff(attempt: int, longest: float) -> float:
    """Exponential backoff with jitter, from 0.25 s up, so that clients do not return all at once."""
    return min(longest, 0.25 * float(2 ** min(attempt, 32))) * random.uniform(0.5, 1.0)


def no_answer(error: httpx.RequestError) -> NoAnswer:
    """What an error of the connection is called here; the address is told without a password."""
    url = error.request.url
    return NoAnswer(f"no answer from {url.scheme}://{url.netloc.decode()}: {str(error) or type(error).__name__}")
