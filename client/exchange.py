"""One image over HTTP: sent, and sent again where that helps."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

AGAIN = frozenset({408, 429, 502, 503})
"""Answers after which the same request may succeed."""

FOR_ALL = frozenset({"/problems/unknown-model", "/problems/invalid-request", "/problems/not-acceptable"})
"""Problems that every other image would have, too."""

LONGEST_WAIT = 60.0


class Refused(Exception):
    """The service has answered that it cannot, or nobody has answered; the message says why."""


class Hopeless(Refused):
    """No other image would fare better."""


@dataclass(frozen=True)
class Call:
    """What is done with every image."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: int = 10


async def exchange(client: httpx.AsyncClient, call: Call, content: bytes) -> httpx.Response:
    """The answer to one image.

    Where the service is busy or away the same is tried again, after as long as Retry-After says, or else after twice as
    long each time. Raises Refused, or Hopeless.
    """
    for attempt in range(call.retries + 1):
        try:
            answer = await client.post(call.path, params=call.query, headers=call.headers, content=content)
        except httpx.TransportError as error:
            refusal, wait = Refused(f"no answer from {client.base_url}: {_reason(error)}"), None
        else:
            if answer.is_success:
                return answer
            refusal, wait = _refusal(answer), _retry_after(answer)
            if answer.status_code not in AGAIN:
                raise refusal
        if attempt < call.retries:
            await asyncio.sleep(wait if wait is not None else _backoff(attempt))
    raise refusal


def _refusal(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
        kind, detail = str(problem["type"]), str(problem["detail"])
    except (ValueError, LookupError, TypeError):
        return Refused(f"HTTP {answer.status_code}")
    return (Hopeless if kind in FOR_ALL else Refused)(detail)


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


def _backoff(attempt: int) -> float:
    """Longer each time, and never the same for all clients."""
    return min(LONGEST_WAIT, 0.25 * float(2**attempt)) * random.uniform(0.5, 1.0)


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
