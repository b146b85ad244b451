import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http.access_log import AccessLog
from service.telemetry.metrics import Metrics


async def unheard() -> Message:
    return {"type": "http.request"}


def call(metrics: Metrics, status: int = 204, headers: dict[str, str] | None = None, method: str = "GET") -> Message:
    """The beginning of the answer of an application that only says `status`."""
    sent: list[Message] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["trace"].model = "wave"
        with scope["state"]["trace"].stage("decode"):
            await send({"type": "http.response.start", "status": status, "headers": []})

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": raw}
    asyncio.run(AccessLog(answer, metrics)(scope, unheard, send))
    return sent[0]


def request_id(message: Message) -> str:
    return str(dict(message["headers"])[b"x-request-id"].decode())


@pytest.mark.parametrize("offered", ["a", "7f3c-1", "trace:1/2+3=4@x~y", "x" * 128])
def test_identity_of_the_client_is_taken_over(offered: str) -> None:
    assert request_id(call(Metrics(), headers={"X-Request-ID": offered})) == offered


@pytest.mark.parametrize("offered", ["", "x" * 129, "two words", "line\nbreak", "<script>", "\u00e9"])
def test_identity_that_could_forge_a_log_line_is_replaced(offered: str) -> None:
    given = request_id(call(Metrics(), headers={"X-Request-ID": offered}))
    assert given != offered
    assert len(given) == 32


def test_identities_differ() -> None:
    assert request_id(call(Metrics())) != request_id(call(Metrics()))


def test_what_happened_is_measured() -> None:
    metrics = Metrics()
    call(metrics, status=204)
    value = metrics.registry.get_sample_value
    assert value("pastiche_http_requests_total", {"route": "other", "method": "GET", "code": "204"}) == 1
    assert value("pastiche_http_request_duration_seconds_count", {"route": "other", "method": "GET"}) == 1
    assert value("pastiche_stage_duration_seconds_count", {"stage": "decode", "model": "wave"}) == 1
    assert value("pastiche_http_requests_in_progress") == 0


def test_methods_that_clients_invent_are_one_label() -> None:
    metrics = Metrics()
    call(metrics, method="HACK")
    labels = {"route": "other", "method": "other", "code": "204"}
    assert metrics.registry.get_sample_value("pastiche_http_requests_total", labels) == 1


def test_client_that_left_is_counted_by_the_stage_it_was_in() -> None:
    metrics = Metrics()
    call(metrics, status=499)
    assert metrics.registry.get_sample_value("pastiche_cancelled_total", {"stage": "decode"}) == 1


def test_failure_without_an_answer_counts_as_500() -> None:
    metrics = Metrics()

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    async def unsent(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(RuntimeError):
        asyncio.run(AccessLog(broken, metrics)(scope, unheard, unsent))
    labels = {"route": "other", "method": "GET", "code": "500"}
    assert metrics.registry.get_sample_value("pastiche_http_requests_total", labels) == 1
    assert metrics.registry.get_sample_value("pastiche_rejected_total", {"reason": "internal-error"}) == 1


def test_access_log_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "service.access")
    call(Metrics(), headers={"X-Request-ID": "mine"})
    (record,) = caplog.records
    assert record.message.startswith("id=mine method=GET route=other status=204 model=wave@0 decode=")
    assert "total=" in record.message
