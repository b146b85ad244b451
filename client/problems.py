"""Problem details (RFC 9457) as exceptions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from client.errors import Problem, ProblemDetails, ServiceFailed

MAX_WAIT_SECONDS = 60.0
"""The longest Retry-After that is honoured."""

SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")
"""RFC 9110 knows whole seconds alone; some proxies send others."""

TEXTS = ("type", "title", "detail", "instance")


def read_problem(answer: httpx.Response) -> Problem:
    """The exception for an answer that is no success."""
    try:
        members = answer.json()
    except ValueError:
        members = None
    known = members if isinstance(members, dict) else {}
    if answer.has_redirect_location:
        known = {"detail": f"HTTP {answer.status_code}: the service is at {answer.headers['Location']}"}
    return build_problem(known, answer.status_code, retry_after(answer))


def stored_problem(members: Mapping[str, Any]) -> Problem:
    """The exception for a problem within an answer, whose status is one of its members; 500 where that is no number."""
    try:
        status = int(members["status"])
    except (KeyError, TypeError, ValueError, OverflowError):
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    return build_problem(members, status)


def build_problem(members: Mapping[str, Any], status: int, seconds: float | None = None) -> Problem:
    """The exception for the members of a problem, by its kind, or else by the status."""
    texts = {name: str(members[name]) for name in TEXTS if members.get(name)}
    details = ProblemDetails(status=status, members=members, **texts)
    return problem_class(details.kind, status)(details, seconds)


def problem_class(kind: str, status: int) -> type[Problem]:
    """The class of a kind of problem; of an unknown one, that of the status."""
    known = list(Problem.subclasses())
    by_kind = (each for each in known if kind in each.kinds)
    by_status = (each for each in known if status in each.statuses)
    return next(by_kind, None) or next(by_status, ServiceFailed)


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds from a number or a date (RFC 9110, section 10.2.3), at most MAX_WAIT_SECONDS; None without either."""
    told = answer.headers.get("Retry-After", "")
    if SECONDS.fullmatch(told):
        return min(float(told), MAX_WAIT_SECONDS)
    try:
        at = parsedate_to_datetime(told)
    except (ValueError, OverflowError):
        return None
    seconds: float = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)
