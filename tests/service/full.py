"""A service that is full and sheds load."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.errors import Overloaded
from service.http.connection import ConnectionLimits
from service.http.load_shedding.load_shedder import PERIOD
from service.http.load_shedding.refusal_cache import RefusalCache
from service.http.load_shedding.request_class import ANY_SIZE, RequestClass, timeout_class
from tests.service.live import Live, running, settings

STYLE = "/v1/stylize/wave"
UPSCALE = "/v1/upscale/4"
QUERY = "format=png&quality=90"


@dataclass(frozen=True)
class Full:
    """A service that has just refused a client with a timeout of a minute, because it was full. It serves no models."""

    live: Live

    @property
    def refusals(self) -> RefusalCache:
        return self.live.service.refusals

    def ask(self, method: str = "POST", path: str = STYLE, **headers: str) -> httpx.Response:
        content = b"x" if method == "POST" else None
        return self.live.client.request(method, path, content=content, headers=headers)

    def kind(self, *arguments: str, **headers: str) -> str:
        """The kind of problem that is answered; that of a request which is let through is another one."""
        return str(self.ask(*arguments, **headers).json()["type"].removeprefix("/problems/"))


@contextmanager
def full(
    root: Path,
    *,
    default_timeout: bool = True,
    size: int = ANY_SIZE,
    limits: ConnectionLimits | None = None,
    period: float = PERIOD,
    root_path: str = "",
) -> Iterator[Full]:
    refusal = Overloaded("full", retry_after=7)
    refusals = RefusalCache(hold_seconds=1000.0)
    with running(settings(root, root_path=root_path), refusals=refusals, limits=limits, period=period) as live:
        service = Full(live)
        for path, query in ((STYLE, ""), (UPSCALE, ""), (STYLE, QUERY)):
            target = (path, query, "*/*", "", "")  # without credentials
            service.refusals.store(refusal, RequestClass(target, timeout_class(60.0), default_timeout, size))
        yield service
