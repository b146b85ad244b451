"""A service that is full, and refuses at the door."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.errors import Overloaded
from service.lifespan import Lifespan
from service.question import ANY_SIZE, Question, patience_class
from service.standing import StandingRefusals
from tests.service.live import Live, serving

STYLE = "/v1/stylize/wave"
UPSCALE = "/v1/upscale/4"
QUERY = "format=png&quality=90"


@dataclass(frozen=True)
class Full:
    """A service that has just refused somebody who had a minute, because it was full; it has not loaded a model."""

    live: Live

    @property
    def refusals(self) -> StandingRefusals:
        lifespan: Lifespan = self.live.app.state.lifespan
        return lifespan._admission.refusals

    def ask(self, method: str = "POST", path: str = STYLE, **headers: str) -> httpx.Response:
        content = b"x" if method == "POST" else None
        return self.live.client.request(method, path, content=content, headers=headers)

    def kind(self, *arguments: str, **headers: str) -> str:
        """Of the problem; that of a request which is let in is another one."""
        return str(self.ask(*arguments, **headers).json()["type"].removeprefix("/problems/"))


@contextmanager
def full(root: Path, *, silent: bool = True, size: int = ANY_SIZE) -> Iterator[Full]:
    refusal = Overloaded("full", headers={"Retry-After": "7"}, retry_after=7)
    with serving(root) as live, pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.standing.STANDING_SECONDS", 1000.0)
        service = Full(live)
        for path, query in ((STYLE, ""), (UPSCALE, ""), (STYLE, QUERY)):
            service.refusals.remember(refusal, Question((path, query, "*/*"), patience_class(60.0), silent, size))
        yield service
