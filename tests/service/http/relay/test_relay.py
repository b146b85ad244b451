"""The relay: what it passes on, what it sends again, and what it refuses itself."""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.app import Service, build_service
from service.errors import Overloaded, ReplicaLost, ServiceError
from service.http.problems import Problem
from service.http.relay.exchange import HttpAnswer, HttpCall, exchange
from service.http.relay.relay import Relay, Replicas, without_request_id
from service.telemetry.metrics import Metrics
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, publish, settings, worker_launcher

ANSWER = HttpAnswer(200, ((b"content-type", b"image/png"), (b"etag", b'"one"'), (b"content-length", b"5")), b"image")

EXPOSITION = HttpAnswer(
    200,
    ((b"content-type", b"text/plain"), (b"content-length", b"82"), (b"x-frame-options", b"DENY")),
    b"# TYPE pastiche_output_pixels_total counter\npastiche_output_pixels_total 5.0\n",
)


class Answering:
    """Replicas that fail as they are told, one after the other, and then answer."""

    def __init__(self, *failures: Exception | HttpAnswer) -> None:
        self.calls: list[tuple[str, HttpCall]] = []
        self.scraped = [("one", EXPOSITION), ("two", EXPOSITION)]
        self._failures = list(failures)

    async def answer(self, key: str, call: HttpCall) -> HttpAnswer:
        self.calls.append((key, call))
        failure = self._failures.pop(0) if self._failures else ANSWER
        if isinstance(failure, Exception):
            raise failure
        return failure

    async def scrape(self, call: HttpCall) -> Sequence[tuple[str, HttpAnswer]]:
        self.calls.append(("", call))
        return self.scraped

    async def expositions(self) -> Sequence[tuple[str, bytes]]:
        return [("relay", EXPOSITION.body)]


PATH = "/v1/stylize/wave"


class Losable:
    """Services of this process as replicas, each of which can be lost; the one with the fewest requests is asked."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._asked: dict[int, list[asyncio.Task[HttpAnswer]]] = {number: [] for number in range(len(services))}
        self._services = services

    async def answer(self, key: str, call: HttpCall) -> HttpAnswer:  # noqa: ARG002 # the relay passes it
        number = min(self._asked, key=lambda each: len(self._asked[each]))
        task = asyncio.create_task(exchange(self._services[number].app, call))
        self._asked[number].append(task)
        try:
            return await task
        except asyncio.CancelledError as error:
            raise ReplicaLost from error

    async def scrape(self, call: HttpCall) -> Sequence[tuple[str, HttpAnswer]]:
        return [(str(number), await exchange(self._services[number].app, call)) for number in self._asked]

    async def expositions(self) -> Sequence[tuple[str, bytes]]:
        return [("relay", EXPOSITION.body)]

    def lose(self, number: int) -> None:
        """Nothing that it was asked is answered."""
        for task in self._asked.pop(number):
            task.cancel()


def hold(services: Sequence[Service]) -> threading.Event:
    """Their devices are busy until it is set."""
    go_on = threading.Event()
    for service in services:
        for runner in service.pool.runners:
            runner.submit_operation(go_on.wait)
    return go_on


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 # of what sets no event
            await asyncio.sleep(0.005)


OPTIONS = ("max_body_bytes", "request_timeout", "max_request_timeout", "root_path")


def ask(replicas: Replicas, method: str, path: str, **request: Any) -> httpx.Response:
    """The answer of a relay to one request."""
    options = {name: request.pop(name) for name in OPTIONS if name in request}
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
    (key, first), (again, second) = replicas.calls
    assert (key, replace(first, admitted_before=True)) == (again, second)
    assert not first.admitted_before
    assert metrics.registry.get_sample_value("pastiche_relay_retries_total") == 1


FULL = HttpAnswer(503, ((b"retry-after", b"0"),), b"full")


@pytest.mark.parametrize("refusal", [FULL, Overloaded("full", retry_after=0)])
def test_request_of_a_lost_replica_waits_for_the_others_to_have_room(refusal: Exception | HttpAnswer) -> None:
    replicas = Answering(ReplicaLost(), refusal, refusal)
    answer = ask(replicas, "POST", "/v1/stylize/wave", content=b"photo")
    assert (answer.status_code, len(replicas.calls)) == (200, 4)
    assert [call.admitted_before for _, call in replicas.calls] == [False, True, True, True]


@pytest.mark.parametrize(
    "refusal", [HttpAnswer(503, ((b"retry-after", b"7"),), b"full"), Overloaded("7", retry_after=7)]
)
def test_request_of_a_lost_replica_is_refused_where_there_is_no_room_in_time(refusal: Exception | HttpAnswer) -> None:
    replicas = Answering(ReplicaLost(), refusal)
    answer = ask(replicas, "POST", "/v1/stylize/wave", content=b"photo", request_timeout=5, max_request_timeout=5)
    assert (answer.status_code, answer.headers["Retry-After"], len(replicas.calls)) == (503, "7", 2)


def test_new_request_does_not_wait_for_room() -> None:
    replicas = Answering(FULL)
    answer = ask(replicas, "POST", "/v1/stylize/wave", content=b"photo")
    assert (answer.status_code, len(replicas.calls)) == (503, 1)


def test_every_request_of_a_replica_that_is_lost_under_load_is_answered(tmp_path: Path) -> None:
    publish(tmp_path)
    options = {"coalesce": False, "max_queue_requests": 2, "request_timeout": 60}
    services = [build_service(settings(tmp_path, **options), launcher=worker_launcher()) for _ in range(2)]

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for service in services:
                await stack.enter_async_context(service.lifespan(service.app))
                await service.watcher.refresh()
            replicas = Losable(services)
            relay = Relay(settings(tmp_path), replicas, Metrics(), jobs_are_shared=False).application()
            calls = [HttpCall("POST", PATH, PATH.encode(), body=file(photo(seed))) for seed in range(5)]
            go_on = hold(services)
            stack.callback(go_on.set)
            accepted = [asyncio.create_task(exchange(relay, call)) for call in calls[:4]]
            await until(lambda: [service.admission.backlog.client_requests for service in services] == [2, 2])
            replicas.lose(0)
            await until(lambda: services[1].admission.backlog.client_requests == 4)
            assert (await exchange(relay, calls[4])).status == 503
            go_on.set()
            answers = await asyncio.gather(*accepted)
        assert [answer.status for answer in answers] == [200] * 4

    asyncio.run(run())


def test_request_of_two_lost_replicas_is_given_up() -> None:
    replicas = Answering(ReplicaLost(), ReplicaLost())
    answer = ask(replicas, "POST", "/v1/stylize/wave", content=b"photo")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert (answer.json()["type"], len(replicas.calls)) == ("/problems/replica-lost", 2)


@pytest.mark.parametrize("prefix", ["", "/pastiche"])
@pytest.mark.parametrize("path", ["/v1/admin/reload", "/v1/admin/models/wave/rollback"])
def test_administration_is_not_done_twice(prefix: str, path: str) -> None:
    replicas = Answering(ReplicaLost())
    assert ask(replicas, "POST", prefix + path, root_path=prefix).status_code == 503
    assert len(replicas.calls) == 1


def test_path_that_begins_as_administration_does_is_sent_again() -> None:
    replicas = Answering(ReplicaLost())
    assert ask(replicas, "GET", "/v1/administrators").status_code == 200


@pytest.mark.parametrize("path", ["/v1/stylize/wave", "/v1/stylize/wave/", "/pastiche/v1/stylize/wave"])
def test_model_has_the_same_replica_whatever_a_proxy_does_with_the_prefix(path: str) -> None:
    replicas = Answering()
    ask(replicas, "POST", path, root_path="/pastiche")
    [(key, call)] = replicas.calls
    assert (key, call.path) == ("/v1/stylize/wave", path)


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (Overloaded("full", retry_after=3), 503, "overloaded"),
        (RuntimeError("unexpected"), 500, "internal-error"),
    ],
)
def test_failure_is_a_problem(failure: Exception, status: int, kind: str) -> None:
    answer = ask(Answering(failure), "GET", "/v1/models", headers={"X-Request-ID": "mine"}, root_path="/pastiche")
    assert (answer.status_code, answer.json()["type"]) == (status, f"/pastiche/problems/{kind}")
    assert answer.headers["X-Request-ID"] == answer.json()["instance"] == "mine"
    assert answer.headers.get("Retry-After") == ("3" if isinstance(failure, ServiceError) else None)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/one", "/v1/jobs/one/result", "/v1/jobs/"])
def test_jobs_that_are_not_shared_are_refused(path: str) -> None:
    answer = ask(Answering(), "GET", path)
    assert (answer.status_code, answer.json()["type"]) == (501, "/problems/jobs-not-shared")
    assert ask(Answering(), "GET", path, shared=True).status_code == 200
    assert ask(Answering(), "GET", f"/pastiche{path}", root_path="/pastiche").status_code == 501
    assert ask(Answering(), "GET", f"/other{path}", root_path="/pastiche").status_code == 200


@pytest.mark.parametrize(("shared", "status"), [(False, 501), (True, 200)])
def test_callback_needs_jobs_that_are_shared(shared: bool, status: int) -> None:
    headers = {"Prefer": "respond-async", "X-Callback-URL": "https://example.com/"}
    assert ask(Answering(), "POST", "/v1/stylize/wave", headers=headers, shared=shared).status_code == status


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


def test_failures_have_the_forms_of_their_apis() -> None:
    for path, form in (
        ("/v1/stylize/wave", {*Problem.model_fields, "limit", "actual", "max_accepted"}),
        ("/v1/images/edits", {"error"}),
        ("/pastiche/v1/images/edits/", {"error"}),
        ("/v2/models/wave/infer", {"error"}),
        ("/sdapi/v1/extra-single-image", {"error", "detail", "body", "errors"}),
    ):
        answer = ask(Answering(), "POST", path, content=b"photo", max_body_bytes=4, root_path="/pastiche")
        assert (answer.status_code, answer.json().keys()) == (413, form)


def test_metrics_are_those_of_all_replicas() -> None:
    answer = ask(Answering(), "GET", "/metrics")
    [family] = text_string_to_metric_families(answer.text)
    assert {sample.labels["instance"]: sample.value for sample in family.samples} == {"one": 5, "two": 5, "relay": 5}
    assert (answer.headers["Content-Type"], answer.headers["X-Frame-Options"]) == ("text/plain", "DENY")
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_metrics_are_asked_for_in_the_format_that_is_merged() -> None:
    replicas = Answering()
    sent = {"Accept": "application/openmetrics-text", "Authorization": "Bearer mine"}
    for method in ("GET", "HEAD"):
        assert ask(replicas, method, "/metrics", headers=sent).status_code == 200
        _, call = replicas.calls.pop()
        fields = dict(call.headers)
        assert (call.method, fields.get(b"accept"), fields[b"authorization"]) == ("GET", None, b"Bearer mine")


def test_metrics_are_refused_as_by_a_service_alone(tmp_path: Path) -> None:
    sent = write_keys(tmp_path / "keys.toml", shop="", scraper='rights = ["metrics"]')
    options = {"keys_file": tmp_path / "keys.toml", "allowed_hosts": "relay", "root_path": "/pastiche"}
    replicas = Losable([build_service(settings(tmp_path, **options), launcher=worker_launcher()) for _ in range(2)])
    foreign = {**sent["scraper"], "Host": "evil.example"}
    for path in ("/metrics", "/pastiche/metrics"):
        answers = [
            ask(replicas, "GET", path, headers=headers, root_path="/pastiche")
            for headers in ({}, sent["shop"], foreign, sent["scraper"])
        ]
        assert [answer.status_code for answer in answers] == [401, 403, 421, 200]
        assert answers[0].headers["WWW-Authenticate"] == 'Bearer realm="pastiche"'
        assert all(f'instance="{name}"' in answers[3].text for name in ("0", "1", "relay"))


@pytest.mark.parametrize("options", [{"serve_metrics": False}, {"metrics_port": 0}])
def test_there_are_no_metrics_where_a_service_alone_has_none(tmp_path: Path, options: dict[str, Any]) -> None:
    replicas = Losable([build_service(settings(tmp_path, **options), launcher=worker_launcher())])
    assert ask(replicas, "GET", "/metrics").status_code == 404


def test_one_replica_that_refuses_leaves_the_metrics_of_the_others() -> None:
    replicas = Answering()
    replicas.scraped = [("one", HttpAnswer(429, (), b"")), ("two", EXPOSITION)]
    text = ask(replicas, "GET", "/metrics").text
    assert 'instance="two"' in text
    assert 'instance="one"' not in text


def test_metrics_are_refused_where_no_replica_can_decide() -> None:
    replicas = Answering()
    replicas.scraped = []
    answer = ask(replicas, "GET", "/metrics")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "pastiche" not in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/pastiche/metrics"])
def test_metrics_are_found_as_other_paths_are(path: str) -> None:
    answer = ask(Answering(), "GET", path, root_path="/pastiche")
    assert 'instance="two"' in answer.text


def test_id_of_the_request_can_be_left_to_the_server() -> None:
    relay = Relay(settings(Path("models")), Answering(), Metrics(), jobs_are_shared=False)
    app = without_request_id(relay.application())
    answer = asyncio.run(exchange(app, HttpCall("GET", "/v1/jobs/one", b"/v1/jobs/one")))
    assert answer.status == 501
    assert b"x-request-id" not in dict(answer.headers)
