import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.errors import Overloaded
from service.http.load_shedding.load_shedder import LoadShedder, RenderedRefusal
from service.http.load_shedding.refusal_cache import RefusalCache
from service.http.load_shedding.request_class import ANY_SIZE, RequestClass, size_class, timeout_class
from service.http.problems import PROBLEM_MEDIA_TYPE
from service.telemetry.metrics import Metrics
from tests.service.full import QUERY, STYLE, UPSCALE, Full, full
from tests.service.imaging.images import file, photo
from tests.service.live import held, publish, serving, wait_for

LET_THROUGH = "unknown-model"
"""The problem that the application answers with an empty store."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    with full(tmp_path_factory.mktemp("store")) as service:
        yield service


def test_shed_request_gets_the_response_of_the_application(tmp_path: Path) -> None:
    with full(tmp_path) as service:
        answer = service.ask("POST", STYLE, **{"X-Request-ID": "mine"})
        assert (answer.status_code, answer.reason_phrase) == (503, "Service Unavailable")
        assert answer.headers["Retry-After"] == "7"
        assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
        assert answer.headers["X-Request-ID"] == answer.json()["instance"] == "mine"
        assert answer.json()["retry_after"] == 7
        assert "Date" in answer.headers
        labels = {"route": "/v1/stylize/{style}", "method": "POST", "code": "503"}
        assert service.live.metric("pastiche_http_requests_total", **labels) == 1
        assert service.live.metric("pastiche_rejected_total", reason="overloaded") == 1


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        (STYLE, {}, "overloaded"),
        (UPSCALE, {}, "overloaded"),
        (f"{STYLE}?{QUERY}", {}, "overloaded"),
        (STYLE, {"X-Request-Timeout": "60"}, LET_THROUGH),  # it names a timeout, and the other one did not
        (f"{STYLE}?quality=900", {}, "invalid-request"),
        (f"{STYLE}?priority=never", {}, "invalid-request"),
        (f"{UPSCALE}?model=cats", {}, LET_THROUGH),
        ("/v1/upscale/99", {}, "unknown-model"),
        (STYLE, {"X-Request-Timeout": "soon"}, "invalid-request"),
        (STYLE, {"X-Request-Timeout": "-5"}, "invalid-request"),
        (STYLE, {"X-Request-Timeout": "inf"}, "invalid-request"),
        ("/v1/elsewhere", {}, "not-found"),
        (f"{STYLE}/", {}, "overloaded"),
        (STYLE, {"X-Request-Timeout": "601"}, "invalid-request"),
        (STYLE, {"Accept": "image/png," * 500}, LET_THROUGH),
        (f"{STYLE}?{'x' * 5000}", {}, "invalid-request"),
    ],
)
def test_request_that_may_be_answered_otherwise_is_let_through(
    service: Full, path: str, headers: dict[str, str], kind: str
) -> None:
    assert service.kind("POST", path, **headers) == kind


@pytest.mark.parametrize(
    ("timeout", "kind"), [("60", "overloaded"), ("61", "overloaded"), ("600", LET_THROUGH), ("5", LET_THROUGH)]
)
def test_request_with_another_timeout_is_let_through(tmp_path: Path, timeout: str, kind: str) -> None:
    with full(tmp_path, default_timeout=False) as service:
        assert service.kind("POST", STYLE, **{"X-Request-Timeout": timeout}) == kind


@pytest.mark.parametrize(("length", "kind"), [(100, "overloaded"), (10, LET_THROUGH), (1000, LET_THROUGH)])
def test_request_with_a_larger_or_smaller_body_is_let_through(tmp_path: Path, length: int, kind: str) -> None:
    with full(tmp_path, size=size_class(100)) as service:
        answer = service.live.client.post(STYLE, content=bytes(length))
    assert answer.json()["type"] == f"/problems/{kind}"


def test_body_of_unknown_length_is_let_through(service: Full) -> None:
    answer = service.live.client.post(STYLE, content=iter([b"x"]))
    assert answer.json()["type"] == f"/problems/{LET_THROUGH}"


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/stylize/cats", 404), ("/v1/stylize/wave?quality=0", 422), ("/v1/stylize/wave", 503)]
)
def test_full_service_still_says_what_is_wrong_with_a_request(tmp_path: Path, path: str, status: int) -> None:
    publish(tmp_path)
    with serving(tmp_path, max_queue_requests=1) as live, ThreadPoolExecutor(1) as clients, held(live):
        first = clients.submit(httpx.post, f"{live.url}{STYLE}", content=file(photo()), timeout=60)
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
        for _ in range(2):  # the second one could be shed
            assert live.client.post(STYLE, content=file(photo())).status_code == 503
            assert live.client.post(path, content=file(photo())).status_code == status
        assert not first.done()


def in_two_parts(content: bytes, seconds: float) -> Iterator[bytes]:
    yield content[:100]
    time.sleep(seconds)
    yield content[100:]


def test_only_what_its_length_lets_expect_is_refused_for_others(tmp_path: Path) -> None:
    publish(tmp_path)
    limits = dict.fromkeys(("max_pixels", "max_output_pixels", "max_queue_pixels"), 1_000_000)
    with serving(tmp_path, **limits) as live, ThreadPoolExecutor(1) as clients, held(live):
        first = clients.submit(httpx.post, f"{live.url}{STYLE}", content=file(photo()), timeout=60)
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
        black = file(np.zeros((1000, 1000, 3), np.uint8))
        assert live.client.post(STYLE, content=black).status_code == 503
        assert not live.service.refusals
        noise = file(np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8))
        slow = {"Content-Length": str(len(noise)), "X-Request-Timeout": "4"}
        assert live.client.post(STYLE, content=in_two_parts(noise, 0.5), headers=slow).status_code == 503
        assert not live.service.refusals  # the upload took most of the time
        assert live.client.post(STYLE, content=noise).status_code == 503
        assert live.service.refusals
        assert not first.done()


def test_nothing_is_shed_where_nobody_was_refused(tmp_path: Path) -> None:
    with full(tmp_path) as service:
        service.refusals.refusals_invalid()
        assert service.kind() == LET_THROUGH


def test_job_is_let_through(service: Full) -> None:
    assert service.kind("POST", STYLE, Prefer="respond-async") == LET_THROUGH
    assert service.kind("POST", STYLE, Prefer="wait=5") == "overloaded"


@pytest.mark.parametrize(
    "fields",
    [
        [("Prefer", "respond-async"), ("Prefer", "wait=5")],
        [("X-Request-Timeout", "0.05"), ("X-Request-Timeout", "60")],
    ],
)
def test_repeated_header_is_let_through(service: Full, fields: list[tuple[str, str]]) -> None:
    answer = service.live.client.post(STYLE, content=b"x", headers=fields)
    assert answer.json()["type"] == f"/problems/{LET_THROUGH}"


def test_other_headers_are_not_kept(service: Full) -> None:
    shedder = service.live.shedder
    assert shedder is not None
    before = shedder.classified
    for number in range(3):
        assert service.kind("POST", STYLE, **{"X-Padding": f"{number}" * 10_000}) == "overloaded"
        assert service.kind("POST", f"/nowhere/{number}") == "not-found"
    assert shedder.classified <= before + 1


def test_service_that_stops_says_so(tmp_path: Path) -> None:
    with full(tmp_path) as service:
        service.live.service.admission.close()
        assert service.kind() == LET_THROUGH  # the application says so


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/v1/models", STYLE])
def test_other_requests_are_never_refused(service: Full, path: str) -> None:
    before = service.live.metric("pastiche_rejected_total", reason="overloaded")
    assert service.ask("GET", path).status_code in (200, 405)
    assert service.live.metric("pastiche_rejected_total", reason="overloaded") == before


def test_proxy_may_remove_the_prefix_or_leave_it(tmp_path: Path) -> None:
    with full(tmp_path, root_path="/pastiche") as service:
        for path in (STYLE, f"/pastiche{STYLE}", f"/pastiche{STYLE}/", f"/pastiche{STYLE}?{QUERY}"):
            answer = service.ask("POST", path)
            assert (answer.status_code, answer.json()["type"]) == (503, "/pastiche/problems/overloaded")
        labels = {"route": "/v1/stylize/{style}", "method": "POST", "code": "503"}
        assert service.live.metric("pastiche_http_requests_total", **labels) == 4
        for path in (f"/pastiche/pastiche{STYLE}", f"/pastiche2{STYLE}"):
            assert service.ask("POST", path).status_code == 404


@pytest.mark.parametrize(("clients", "period", "sent_at_once"), [(150, 0.001, 64), (1000, 0.1, 100)])
def test_many_refusals_are_sent_one_part_after_the_other(clients: int, period: float, sent_at_once: int) -> None:
    """Otherwise hundreds of clients that retry at once would take the processor from the answers."""
    refusals = RefusalCache()
    target = (STYLE, "", "", "", "")
    refusals.store(
        Overloaded("full"), RequestClass(target, timeout_class(60.0), default_timeout=True, size_class=ANY_SIZE)
    )
    shedder = LoadShedder(refusals, Metrics(), default_timeout=60.0, longest_timeout=600.0, period=period)
    sent: list[tuple[bytes, int]] = []

    def send(_: RenderedRefusal, instance: bytes, __: bytes) -> bool:
        sent.append((instance, shedder.pending))
        return True

    async def scenario() -> None:
        for number in range(clients):
            fields = [(b"content-length", b"1"), (b"x-request-id", b"%d" % number)]
            assert shedder.refuse(STYLE.encode(), fields, send)
        while shedder.pending:  # noqa: ASYNC110 # nothing announces it
            await asyncio.sleep(0.001)

    asyncio.run(scenario())
    assert [instance for instance, _ in sent] == [b"%d" % number for number in range(clients)]
    assert [waiting for _, waiting in sent[:sent_at_once]] == [clients - sent_at_once] * sent_at_once
    assert sent[-1][1] == 0


def test_refusal_leads_to_where_the_service_is_mounted() -> None:
    answer = RenderedRefusal(Overloaded("full", retry_after=7), "/pastiche").message(b"mine", b"")
    assert b'"/pastiche/problems/overloaded"' in answer
    assert b'"mine"' in answer
