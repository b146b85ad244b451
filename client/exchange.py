"""One image over HTTP: sent, and sent again where that helps."""

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from time import monotonic

import httpx

from client.outage import Outage

BAD_GATEWAY = 502
"""What a proxy says where the service behind it has not answered."""

AGAIN = frozenset({408, 429, 503})
"""Answers after which the same request may succeed."""

PASSING = frozenset({"/problems/draining", "/problems/model-unavailable"})
"""Problems, where they have a Retry-After, of a service that stops or begins."""

FOR_ALL = frozenset({"/problems/unknown-model", "/problems/not-found"})
"""Problems that every other image would have, too."""

PERHAPS_FOR_ALL = frozenset({"/problems/invalid-request", "/problems/not-acceptable"})
"""Problems of the options, or of how they suit this image."""

SPECK = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYGAAAAAEAAHI6uv5AAAAAElFTkSuQmCC")
"""A photograph of one black pixel, PNG."""

LONGEST_WAIT = 60.0
LONGEST_KNOCK = 4.0
"""Seconds between two looks whether a service is back."""


class Refused(Exception):
    """The service has answered that it cannot, or nobody has answered; the message says why."""


class Hopeless(Refused):
    """No other image would fare better."""


class Away(Hopeless):
    """The service is away, and was waited for as long as patience lasts."""


@dataclass(frozen=True)
class Call:
    """What is done with every image."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: int = 10


class Cause(Enum):
    """Why there is no image."""

    AWAY = auto()
    """Nobody there has seen it."""
    LOST = auto()
    """The service went away while it had the image, which may have been too much for it."""
    BUSY = auto()
    FINAL = auto()
    """The same image would get the same answer."""


@dataclass(frozen=True)
class Setback:
    """No image; perhaps there will be one."""

    cause: Cause
    refusal: Refused
    told: float | None = None
    """Seconds after which to ask again, where the service has said so."""

    @property
    def away(self) -> bool:
        """Whether the service is."""
        return self.cause in (Cause.AWAY, Cause.LOST)


async def exchange(client: httpx.AsyncClient, call: Call, content: bytes, outage: Outage) -> httpx.Response:
    """The answer to one image.

    Where the service is busy the same is tried again, after as long as Retry-After says, or else after twice as long
    each time; where it is away, until it is back. Raises Refused, Hopeless, or, where patience is at an end, Away.
    """
    attempt, retries = 0, call.retries
    while True:
        asked = monotonic()
        found = await _ask(client, call, content)
        if isinstance(found, httpx.Response) or not found.away:
            outage.end()
        if isinstance(found, httpx.Response):
            return found
        retries -= found.cause is not Cause.AWAY
        if found.cause is Cause.FINAL or retries < 0:
            raise found.refusal
        await _pause(found, attempt, asked, outage)
        attempt += 1


async def _pause(setback: Setback, attempt: int, asked: float, outage: Outage) -> None:
    longest = LONGEST_KNOCK if setback.away else LONGEST_WAIT
    seconds = setback.told if setback.told is not None else _backoff(attempt, longest)
    if not setback.away:
        await outage.sleep(seconds)
    elif not await outage.wait(seconds, asked, str(setback.refusal)):
        raise Away(f"{setback.refusal}; gave up after {outage.patience:g} s") from setback.refusal


async def _ask(client: httpx.AsyncClient, call: Call, content: bytes) -> httpx.Response | Setback:
    try:
        answer = await _post(client, call, content)
    except httpx.TransportError as error:
        return Setback(_fault(error), Refused(f"no answer from {client.base_url}: {_reason(error)}"))
    if answer.is_success:
        return answer
    cause, (kind, detail) = _cause(answer), _problem(answer)
    final = cause is Cause.FINAL and await _is_for_all(client, call, kind, detail)
    return Setback(cause, Hopeless(detail) if final else Refused(detail), _retry_after(answer))


async def _post(client: httpx.AsyncClient, call: Call, content: bytes) -> httpx.Response:
    return await client.post(call.path, params=call.query, headers=call.headers, content=content)


async def _is_for_all(client: httpx.AsyncClient, call: Call, kind: str, detail: str) -> bool:
    """Whether the fault is the call's: a speck is then refused in the same words as the image."""
    if kind not in PERHAPS_FOR_ALL:
        return kind in FOR_ALL
    try:
        return _problem(await _post(client, call, SPECK)) == (kind, detail)
    except httpx.TransportError:
        return False


def _fault(error: httpx.TransportError) -> Cause:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Cause.AWAY
        case httpx.TimeoutException():
            return Cause.BUSY
        case _:
            return Cause.LOST


def _cause(answer: httpx.Response) -> Cause:
    if answer.status_code == BAD_GATEWAY:
        return Cause.LOST
    if _problem(answer)[0] in PASSING and _retry_after(answer) is not None:
        return Cause.AWAY
    return Cause.BUSY if answer.status_code in AGAIN else Cause.FINAL


def _problem(answer: httpx.Response) -> tuple[str, str]:
    """Its type, empty where the answer has none, and its detail."""
    try:
        problem = answer.json()
        return str(problem["type"]), str(problem["detail"])
    except (ValueError, LookupError, TypeError):
        return "", f"HTTP {answer.status_code}"


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds, from a number or a date (RFC 9110, section 10.2.3); None where it says nothing."""
    told = answer.headers.get("Retry-After", "")
    if told.isdecimal():
        return min(float(told), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return None
    seconds: float = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _backoff(attempt: int, longest: float) -> float:
    """Longer each time, and never the same for all clients."""
    return min(longest, 0.25 * float(2 ** min(attempt, 32))) * random.uniform(0.5, 1.0)


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
