from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from client.errors import (
    AccessDenied,
    ImageRejected,
    InvalidRequest,
    JobUnfinished,
    NotFound,
    Overloaded,
    Problem,
    QuotaExceeded,
    ServiceFailed,
    TimedOut,
    UnknownJob,
    UnknownModel,
)
from client.problems import problem_class, read_problem, retry_after, stored_problem
from service.errors import ServiceError


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("invalid-request", 422, InvalidRequest),
        ("image-too-large", 422, ImageRejected),
        ("corrupt-image", 400, ImageRejected),
        ("malformed-json", 400, InvalidRequest),
        ("unknown-model", 404, UnknownModel),
        ("unknown-job", 404, UnknownJob),
        ("no-preview", 404, NotFound),
        ("job-unfinished", 409, JobUnfinished),
        ("unauthorized", 401, AccessDenied),
        ("quota-exceeded", 429, QuotaExceeded),
        ("overloaded", 503, Overloaded),
        ("draining", 503, Overloaded),
        ("deadline-exceeded", 504, TimedOut),
        ("internal-error", 500, ServiceFailed),
        ("", 502, ServiceFailed),
        ("", 413, ImageRejected),
        ("of-a-later-version", 422, InvalidRequest),
        ("of-a-later-version", 418, ServiceFailed),
    ],
)
def test_class_of_a_problem(kind: str, status: int, expected: type[Problem]) -> None:
    assert problem_class(kind, status) is expected


def test_listed_kinds_are_those_of_the_service_and_in_one_class_only() -> None:
    listed = [kind for each in Problem.subclasses() for kind in each.kinds]
    assert len(set(listed)) == len(listed)
    assert set(listed) <= {each.kind for each in ServiceError.kinds()}


def test_members_are_read() -> None:
    body = {"type": "/pre/problems/unknown-model", "title": "No such model", "detail": "no", "available": ["wave"]}
    problem = read_problem(httpx.Response(404, json={**body, "status": 404, "instance": "mine"}))
    assert isinstance(problem, UnknownModel)
    assert (str(problem), problem.status, problem.kind) == ("no", 404, "unknown-model")
    assert (problem.details.title, problem.details.instance) == ("No such model", "mine")
    assert problem.available == ["wave"]


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'"text"', b"null", b"\xff", b'{"detail": null}'])
def test_answer_that_is_no_problem_is_told_by_its_status(content: bytes) -> None:
    problem = read_problem(httpx.Response(502, content=content))
    assert type(problem) is ServiceFailed
    assert str(problem) == "HTTP 502"
    assert problem.kind == ""


def test_redirection_is_told_and_not_followed() -> None:
    """It could lead a key to another host."""
    problem = read_problem(httpx.Response(301, headers={"Location": "https://here.example/v1/models"}))
    assert str(problem) == "HTTP 301: the service is at https://here.example/v1/models"


def test_retry_after_is_a_number_or_a_date() -> None:
    def told(value: str) -> float | None:
        return retry_after(httpx.Response(503, headers={"Retry-After": value}))

    now = datetime.now(UTC)
    assert (told("7"), told("86400"), told("1.5"), told("soon"), told("")) == (7, 60, 1.5, None, None)
    assert (told("-1"), told("nan"), told("1.2.3"), told("9" * 5000)) == (None, None, None, 60)
    assert told("Fri, 31 Dec 99999999999999999999 23:59:59 GMT") is None
    assert told(format_datetime(now - timedelta(hours=1), usegmt=True)) == 0
    assert told(format_datetime(now + timedelta(hours=1), usegmt=True)) == 60


@pytest.mark.parametrize("status", ["none", None, [], "1e400", float("inf"), float("nan")])
def test_problem_without_a_status_is_a_failure_of_the_service(status: object) -> None:
    problem = stored_problem({"detail": "no", "status": status})
    assert (type(problem), problem.status, str(problem)) == (ServiceFailed, 500, "no")
