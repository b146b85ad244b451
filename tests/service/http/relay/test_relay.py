"""The relay: what it passes on, what it sends again, and what it refuses itself."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import Overloaded, ReplicaLost, ServiceError
from service.http.relay.exchange import HttpAnswer, HttpCall, exchange
from service.http.relay.relay import Relay, without_request_id
from service.telemetry.metrics import Metrics
from tests.service.live import settings

ANSWER = HttpAnswer(200, ((b"content-type", b"image/png"), (b"etag", b'"one"'), (b"content-length", b"5")), b"image")


class Answering:
    """Replicas that fail as they are told, one after the other, and then answer."""

    def __init__(self, *failures: Exception) -> None:
        self.calls: list[tuple[str, HttpCall]] = []
        self.cancelled = False
        self._failures = list(failures)

    async def answer(self, key: str, call: HttpCall) -> HttpAnswer:
        self.calls.append((key, call))
        if self._failures:
            raise self._failures.pop(0)
        return ANSWER

    async def expositions(self) -> Sequence[tuple[str, bytes]]:
        text = b"# TYPE pastiche_output_pixels_total counter\npastiche_output_pixels_total 5.0\n"
        return [("one", text), ("two", text)]


def ask(replicas: Answering, method: str, path: str, **request: Any) -> httpx.Response:
    """The answer of a relay to one request."""
    options = {name: request.pop(name) for name in ("max_body_bytes", "serve_metrics") if name in request}
    relay = Relay(
        settings(Path("models"), **options),
        replicas,
        request.pop("metrics", Metrics()),
        jobs_are_shared=request.pop("shared", False),
    )

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(relay.application(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def test_answer_is_that_of_the_replica() -> None:
    replicas = Answering()
    answer = ask(replicas, "POST", "/v1/stylize/wave?size=64", content=b"photo")
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (200, b"image", '"one"')
    [(key, call)] = replicas.calls
    assert (key, call.query, call.body) == ("/v1/stylize/wave", b"size=64", b"photo")


def test_encoded_body_is_passed_on_as_it_is() -> None:
    replicas = Answering()
    ask(replicas, "POST", "/v1/stylize/wave", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert replicas.calls[0][1].body == b"\x1f\x8b"
    assert (b"content-encoding", b"gzip") in replicas.calls[0][1].headers


def test_request_of_a_lost_replica_is_sent_once_more() -> None:
    replicas, metrics = Answering(ReplicaLost()), Metrics()
    answer = ask(replicas, "POST", "/v1/stylize/wave", content=b"photo", metrics=metrics)
    assert (answer.status_code, len(replicas.calls)) == (200, 2)
    assert replicas.calls[0] == replicas.calls[1]
    assert metrics.registry.get_sample_value("pastiche_relay_retries_total") == 1


def test_request_of_two_lost_replicas_is_given_up() -> None:
    replicas = Answering(ReplicaLost(), ReplicaLost())
    answer = ask(replicas, "POST", "/v1/stylize/wave", content=b"photo")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert (answer.json()["type"], len(replicas.calls)) == ("/problems/replica-lost", 2)


def test_administration_is_not_done_twice() -> None:
    replicas = Answering(ReplicaLost())
    assert ask(replicas, "POST", "/v1/admin/models/wave/rollback").status_code == 503
    assert len(replicas.calls) == 1


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (Overloaded("full", retry_after=3), 503, "overloaded"),
        (RuntimeError("unexpected"), 500, "internal-error"),
    ],
)
def test_failure_is_a_problem(failure: Exception, status: int, kind: str) -> None:
    answer = ask(Answering(failure), "GET", "/v1/models", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    assert answer.headers["X-Request-ID"] == answer.json()["instance"] == "mine"
    assert answer.headers.get("Retry-After") == ("3" if isinstance(failure, ServiceError) else None)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/one", "/v1/jobs/one/result", "/v1/jobs/"])
def test_jobs_that_are_not_shared_are_refused(path: str) -> None:
    answer = ask(Answering(), "GET", path)
    assert (answer.status_code, answer.json()["type"]) == (501, "/problems/jobs-not-shared")
    assert ask(Answering(), "GET", path, shared=True).status_code == 200


@pytest.mark.parametrize("shared", [False, True])
def test_job_is_preferred_only_where_jobs_are_shared(shared: bool) -> None:
    replicas = Answering()
    headers = {"Prefer": "respond-async"}
    ask(replicas, "POST", "/v1/stylize/wave", content=b"photo", headers=headers, shared=shared)
    assert ((b"prefer", b"respond-async") in replicas.calls[0][1].headers) is shared


@pytest.mark.parametrize("own", ['"mine"', None])
def test_job_that_is_asked_for_again_has_the_same_key(own: str | None) -> None:
    replicas, headers = Answering(ReplicaLost()), {"Prefer": "respond-async"}
    headers |= {"Idempotency-Key": own} if own is not None else {}
    ask(replicas, "POST", "/v1/stylize/wave", content=b"photo", headers=headers, shared=True)
    first, second = (dict(call.headers)[b"idempotency-key"].decode() for _, call in replicas.calls)
    assert first == second
    assert first == own if own is not None else re.fullmatch(r'"[0-9a-f-]{36}"', first)
    others = Answering()
    ask(others, "POST", "/v1/stylize/wave", content=b"photo", headers=headers, shared=True)
    assert (dict(others.calls[0][1].headers)[b"idempotency-key"].decode() == first) is (own is not None)


def test_call_for_an_image_gets_no_key() -> None:
    replicas = Answering()
    ask(replicas, "POST", "/v1/stylize/wave", content=b"photo", shared=True)
    assert b"idempotency-key" not in dict(replicas.calls[0][1].headers)


def test_too_large_body_reaches_no_replica() -> None:
    replicas = Answering()
    answer = ask(replicas, "POST", "/v1/stylize/wave", content=b"photo", max_body_bytes=4)
    assert (answer.status_code, answer.json()["max_accepted"], replicas.calls) == (413, 4, [])


def test_metrics_are_those_of_all_replicas() -> None:
    answer = ask(Answering(), "GET", "/metrics")
    [family] = text_string_to_metric_families(answer.text)
    assert {sample.labels["instance"]: sample.value for sample in family.samples} == {"one": 5, "two": 5}
    assert ask(Answering(), "GET", "/metrics", serve_metrics=False).status_code == 404


def test_id_of_the_request_can_be_left_to_the_server() -> None:
    relay = Relay(settings(Path("models")), Answering(), Metrics(), jobs_are_shared=False)
    app = without_request_id(relay.application())
    answer = asyncio.run(exchange(app, HttpCall("GET", "/v1/jobs/one", b"/v1/jobs/one")))
    assert answer.status == 501
    assert b"x-request-id" not in dict(answer.headers)
