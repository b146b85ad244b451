import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.errors import PROBLEM_MEDIA_TYPE, Overloaded
from service.lifespan import Lifespan
from service.standing import Question, StandingRefusals
from tests.service.live import file, held, photo, publish, serving, settings, wait_for

STYLE = "/v1/stylize/wave"
UPSCALE = "/v1/upscale/4"
QUERY = "format=png&quality=90"


class Door:
    """A service that has just refused somebody who had a minute, because it was full; it has not loaded a model."""

    def __init__(self, root: Path, *, silent: bool = True) -> None:
        self.app = create_app(settings(root))
        lifespan: Lifespan = self.app.state.lifespan
        self.refusals: StandingRefusals = lifespan._admission.refusals
        refusal = Overloaded("full", headers={"Retry-After": "7"}, retry_after=7)
        for path, query in ((STYLE, ""), (UPSCALE, ""), (STYLE, QUERY)):
            asked = (path, query, "*/*")
            question = Question(asked, 60.0, silent, 1)
            self.refusals.remember(refusal, question)

    async def ask(self, method: str = "POST", path: str = STYLE, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://here") as client:
            return await client.request(method, path, content=b"x" if method == "POST" else None, headers=headers)

    async def kind(self, *arguments: str, **headers: str) -> str:
        """Of the problem; that of a request which is let in is another one."""
        return str((await self.ask(*arguments, **headers)).json()["type"].removeprefix("/problems/"))

    async def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families((await self.ask("GET", "/metrics")).text)
        samples = [sample for family in families for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@pytest.fixture(autouse=True)
def _standing_for_the_length_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.standing.STANDING_SECONDS", 1000.0)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_refusal_at_the_door_is_the_one_given_inside(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(tmp_path)
        answer = await door.ask("POST", STYLE, **{"X-Request-ID": "mine"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
        assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
        assert answer.headers["X-Request-ID"] == answer.json()["instance"] == "mine"
        assert answer.json()["retry_after"] == 7
        labels = {"route": "/v1/stylize/{style}", "method": "POST", "code": "503"}
        assert await door.metric("pastiche_http_requests_total", **labels) == 1
        assert await door.metric("pastiche_rejected_total", reason="overloaded") == 1

    run(scenario())


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        (STYLE, {}, "overloaded"),
        (UPSCALE, {}, "overloaded"),
        (f"{STYLE}?{QUERY}", {}, "overloaded"),
        (STYLE, {"X-Request-Timeout": "60"}, "model-unavailable"),  # it has said so, and the other one had not
        (f"{STYLE}?quality=900", {}, "invalid-request"),
        (f"{STYLE}?priority=never", {}, "invalid-request"),
        (f"{UPSCALE}?model=cats", {}, "model-unavailable"),
        ("/v1/upscale/99", {}, "invalid-request"),
        (STYLE, {"X-Request-Timeout": "soon"}, "invalid-request"),
        (STYLE, {"X-Request-Timeout": "-5"}, "invalid-request"),
        (STYLE, {"Content-Length": "0"}, "model-unavailable"),
        ("/v1/elsewhere", {}, "not-found"),
    ],
)
def test_who_may_be_answered_otherwise_is_let_in(tmp_path: Path, path: str, headers: dict[str, str], kind: str) -> None:
    async def scenario() -> None:
        assert await Door(tmp_path).kind("POST", path, **headers) == kind

    run(scenario())


@pytest.mark.parametrize(("timeout", "kind"), [("5", "overloaded"), ("600", "model-unavailable")])
def test_who_has_more_time_is_let_in(tmp_path: Path, timeout: str, kind: str) -> None:
    async def scenario() -> None:
        door = Door(tmp_path, silent=False)
        assert await door.kind("POST", STYLE, **{"X-Request-Timeout": timeout}) == kind

    run(scenario())


def test_body_of_unknown_length_is_let_in(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    async def scenario() -> None:
        transport = httpx.ASGITransport(Door(tmp_path).app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.post(STYLE, content=chunks())
        assert answer.json()["type"] == "/problems/model-unavailable"

    run(scenario())


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/stylize/cats", 404), ("/v1/stylize/wave?quality=0", 422), ("/v1/stylize/wave", 503)]
)
def test_full_service_still_says_what_is_wrong_with_a_request(tmp_path: Path, path: str, status: int) -> None:
    publish(tmp_path)
    with serving(tmp_path, max_queue_requests=1) as live, ThreadPoolExecutor(1) as clients, held(live):
        first = clients.submit(httpx.post, f"{live.url}{STYLE}", content=file(photo()), timeout=60)
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
        for _ in range(2):  # the second one could be refused at the door
            assert live.client.post(STYLE, content=file(photo())).status_code == 503
            assert live.client.post(path, content=file(photo())).status_code == status
        assert not first.done()


def test_door_is_open_where_nobody_was_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(tmp_path)
        door.refusals.clear()
        assert await door.kind() == "model-unavailable"

    run(scenario())


def test_job_is_let_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        assert await Door(tmp_path).kind("POST", STYLE, Prefer="respond-async") == "model-unavailable"
        assert await Door(tmp_path).kind("POST", STYLE, Prefer="wait=5") == "overloaded"

    run(scenario())


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/v1/models"])
def test_other_requests_are_never_refused(tmp_path: Path, path: str) -> None:
    async def scenario() -> None:
        assert (await Door(tmp_path).ask("GET", path)).status_code in (200, 503)
        assert await Door(tmp_path).metric("pastiche_rejected_total") == 0

    run(scenario())
