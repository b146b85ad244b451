import asyncio
from collections.abc import Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.admission import Standing
from service.app import create_app
from service.errors import PROBLEM_MEDIA_TYPE, Overloaded
from service.lifespan import Lifespan
from tests.service.live import settings

STYLE = "/v1/stylize/wave"
UPSCALE = "/v1/upscale/4"


class Door:
    """A service that has just refused somebody who had a minute, because it was full; it has not loaded a model."""

    def __init__(self, root: Path) -> None:
        self.app = create_app(settings(root))
        lifespan: Lifespan = self.app.state.lifespan
        self.admission = lifespan._admission
        refusal = Overloaded("full", headers={"Retry-After": "7"}, retry_after=7)
        self.admission._standing[STYLE] = self.admission._standing[UPSCALE] = Standing(
            refusal, monotonic() + 1000, 60.0, 1
        )

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
    ("path", "timeout", "kind"),
    [
        (STYLE, "", "overloaded"),
        ("/v1/upscale/4", "", "overloaded"),
        (STYLE, "5", "overloaded"),
        (STYLE, "600", "model-unavailable"),
        (STYLE, "soon", "invalid-request"),
        ("/v1/elsewhere", "", "not-found"),
    ],
)
def test_who_may_be_answered_is_let_in(tmp_path: Path, path: str, timeout: str, kind: str) -> None:
    async def scenario() -> None:
        headers = {"X-Request-Timeout": timeout} if timeout else {}
        assert await Door(tmp_path).kind("POST", path, **headers) == kind

    run(scenario())


def test_door_is_open_where_nobody_was_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(tmp_path)
        door.admission._standing.clear()
        assert await door.kind() == "model-unavailable"

    run(scenario())


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/v1/models"])
def test_other_requests_are_never_refused(tmp_path: Path, path: str) -> None:
    async def scenario() -> None:
        assert (await Door(tmp_path).ask("GET", path)).status_code in (200, 503)
        assert await Door(tmp_path).metric("pastiche_rejected_total") == 0

    run(scenario())
