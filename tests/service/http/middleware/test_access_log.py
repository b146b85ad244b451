import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.exposition import choose_encoder
from starlette.types import Message, Receive, Scope, Send

from service.http.middleware.access_log import LONGEST_TEXT, AccessLog
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Propagation
from tests.service.imaging.images import file, photo
from tests.service.live import publish, serving


def call(
    metrics: Metrics,
    status: int = 204,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    path: str = "/",
    query: bytes = b"",
    route: str = "",
    body: bytes = b"",
    answer: bytes = b"",
) -> Message:
    """The beginning of the answer of an application that reads the body and says `status`."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["trace"].model = "wave"
        scope.update({"route": SimpleNamespace(path=route)} if route else {})
        with scope["state"]["trace"].stage("decode"):
            await receive()
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": answer})

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": raw}
    scope["client"] = ("192.0.2.1", 4711)
    asyncio.run(AccessLog(application, metrics, Propagation())(scope, receive, send))
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


@pytest.mark.parametrize("length", [1, 118, 128])
def test_durations_have_the_ids_of_requests_as_exemplars_where_they_fit(length: int) -> None:
    metrics = Metrics()
    call(metrics, headers={"X-Request-ID": "x" * length})
    encode, _ = choose_encoder("application/openmetrics-text")
    scraped = encode(metrics.registry).decode()
    assert (f'request_id="{"x" * length}"' in scraped) == (length <= 118)
    assert metrics.registry.get_sample_value(
        "pastiche_http_request_duration_seconds_count", {"route": "other", "method": "GET"}
    )


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

    async def unread() -> Message:
        raise AssertionError

    async def unsent(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(RuntimeError):
        asyncio.run(AccessLog(broken, metrics, Propagation())(scope, unread, unsent))
    labels = {"route": "other", "method": "GET", "code": "500"}
    assert metrics.registry.get_sample_value("pastiche_http_requests_total", labels) == 1
    assert metrics.registry.get_sample_value("pastiche_rejected_total", {"reason": "internal-error"}) == 1


def logged(caplog: pytest.LogCaptureFixture, **request: Any) -> tuple[str, dict[str, Any]]:
    """The one line that a request leaves, and its facts."""
    caplog.set_level("DEBUG", "service.access")
    call(Metrics(), **request)
    (record,) = caplog.records
    return record.message, record.__dict__["facts"]


def test_access_log_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    line, facts = logged(caplog, headers={"X-Request-ID": "mine", "User-Agent": "curl/8"}, body=b"12345", answer=b"123")
    assert line.startswith(
        "id=mine client=192.0.2.1 method=GET path=/ route=other status=204 bytes_in=5 bytes_out=3 model=wave@0 "
        "agent=curl/8 decode="
    )
    assert "total=" in line
    assert facts["seconds"].keys() == {"decode", "total"}
    assert (facts["client"], facts["bytes_in"], facts["bytes_out"]) == ("192.0.2.1", 5, 3)


def test_what_a_client_chooses_can_forge_no_line(caplog: pytest.LogCaptureFixture) -> None:
    agent = "a\x85\x1b[31m status=200\r\nid=forged" + "x" * 1000
    line, facts = logged(caplog, headers={"User-Agent": agent}, path='/a b\n"=')
    assert line.isascii()
    assert line.isprintable()
    assert 'path="/a b\\n\\"="' in line
    assert len(facts["agent"]) == LONGEST_TEXT


def test_query_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    line, facts = logged(caplog, path="/v1/stylize/wave", query=b"token=secret")
    assert "secret" not in line
    assert facts["path"] == "/v1/stylize/wave"


@pytest.mark.parametrize(("path", "level"), [("/livez", "DEBUG"), ("/metrics", "DEBUG"), ("/v1/models", "INFO")])
def test_probes_and_scrapes_are_logged_at_debug(path: str, level: str, caplog: pytest.LogCaptureFixture) -> None:
    logged(caplog, path=path, route=path)
    assert [record.levelname for record in caplog.records] == [level]


def test_address_is_that_of_the_client_behind_a_trusted_proxy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "service.access")
    publish(tmp_path)
    image = file(photo())
    with serving(tmp_path, root_path="/pastiche") as live:
        sent = {"X-Forwarded-For": "192.0.2.7", "User-Agent": "test"}
        answer = live.client.post("/pastiche/v1/stylize/wave?strength=0.5", content=image, headers=sent)
    facts = [vars(record)["facts"] for record in caplog.records if record.name == "service.access"][-1]
    assert (facts["client"], facts["path"], facts["agent"]) == ("192.0.2.7", "/pastiche/v1/stylize/wave", "test")
    assert (facts["bytes_in"], facts["bytes_out"]) == (len(image), len(answer.content))
    assert facts["seconds"].keys() >= {"read", "decode", "queue", "infer", "encode", "total"}
