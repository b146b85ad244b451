import asyncio
import errno
from pathlib import Path

import httpx
import pytest
from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from service.app import Service, build_service
from service.http.middleware.unexpected_failures import UnexpectedFailures
from tests.service.live import settings

ORIGIN = "https://app.example"
HEADERS = {"Origin": ORIGIN, "X-Request-ID": "mine", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}

FAULT = RuntimeError("password: 1234")
SCARCITY = OSError(errno.EMFILE, "Too many open files")


def failing(root: Path, error: Exception) -> Service:
    """A service at one of whose paths nobody expects this error."""
    service = build_service(settings(root, cors_origins=ORIGIN, address_requests_per_minute=9))

    @service.app.get("/broken")
    async def broken() -> None:
        raise error

    return service


def ask(service: Service, method: str = "GET") -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://here") as client:
            return await client.request(method, "/broken", headers=HEADERS)

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("error", "status", "problem"), [(FAULT, 500, "internal-error"), (SCARCITY, 503, "out-of-resources")]
)
def test_answer_passes_the_middleware_that_others_pass(
    tmp_path: Path, error: Exception, status: int, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "service")
    service = failing(tmp_path, error)
    answer = ask(service)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers.get_list("X-Request-ID") == ["mine"]
    assert {"traceparent", "ratelimit", "content-security-policy"} <= set(answer.headers)
    cause, access = caplog.records
    assert (cause.message, cause.exc_info and cause.exc_info[1]) == ("request mine failed", error)
    facts = access.__dict__["facts"]
    assert (facts["status"], facts["problem"], facts["bytes_out"]) == (status, problem, len(answer.content))
    value = service.metrics.registry.get_sample_value
    labels = {"route": "/broken", "method": "GET", "code": str(status)}
    assert value("pastiche_http_requests_total", labels) == 1
    assert value("pastiche_rejected_total", {"reason": problem}) == 1


def test_head_gets_no_body(tmp_path: Path) -> None:
    answer = ask(failing(tmp_path, FAULT), "HEAD")
    assert (answer.status_code, answer.content) == (500, b"")
    assert int(answer.headers["Content-Length"]) > 0


def test_answer_that_has_begun_is_broken_off() -> None:
    sent: list[Message] = []

    async def breaks(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise FAULT

    async def respond(_request: Request, _error: Exception) -> Response:
        raise AssertionError

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match="password"):
        asyncio.run(UnexpectedFailures(breaks, respond)({"type": "http"}, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start"]
