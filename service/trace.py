"""One request as logs, metrics and headers see it: its id, its model, and how long each stage took."""

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone, ServiceError
from service.metrics import Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._~:@=+/-]{1,128}")
"""The ids that are taken over from clients; others could forge lines of the log."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

access = logging.getLogger("service.access")


@dataclass
class Trace:
    """Filled in on the way of one request. Durations are in seconds."""

    request_id: str
    began: float = field(default_factory=perf_counter)
    model: str = ""
    version: int = 0
    problem: str = ""
    status: int = ServiceError.status
    durations: dict[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> str:
        """The last stage that began."""
        return next(reversed(self.durations), "before")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as the stage `name`, also when it fails."""
        began = perf_counter()
        try:
            yield
        finally:
            self.durations[name] = perf_counter() - began

    def server_timing(self) -> str:
        """The stages so far as a Server-Timing header (milliseconds)."""
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in self.durations.items())


class TraceMiddleware:
    """Gives every HTTP request a Trace, an X-Request-ID, its metrics and one line in the access log."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = Trace(request_id(Headers(scope=scope)))
        scope.setdefault("state", {})["trace"] = trace

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = trace.request_id
            await send(message)

        with self.metrics.requests_in_progress.track_inprogress():
            try:
                await self.app(scope, receive, send_traced)
            finally:
                self._record(scope, trace)

    def _record(self, scope: Scope, trace: Trace) -> None:
        seconds = perf_counter() - trace.began
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "other")
        self._measure(route, method, seconds, trace)
        facts = {"id": trace.request_id, "method": method, "route": route, "status": trace.status}
        facts |= {"model": f"{trace.model}@{trace.version}"} if trace.model else {}
        facts |= {"problem": trace.problem} if trace.problem else {}
        _log(facts, trace.durations | {"total": seconds})

    def _measure(self, route: str, method: str, seconds: float, trace: Trace) -> None:
        self.metrics.requests.labels(route, method, trace.status).inc()
        self.metrics.request_duration.labels(route, method).observe(seconds)
        for stage, duration in trace.durations.items():
            self.metrics.stage_duration.labels(stage, trace.model).observe(duration)
        if trace.status == ClientGone.status:
            self.metrics.cancelled.labels(trace.reached).inc()
        elif trace.problem or trace.status == ServiceError.status:  # not the probes' 503, which refuses nobody
            self.metrics.rejected.labels(trace.problem or ServiceError.kind).inc()


def _log(facts: dict[str, object], durations: dict[str, float]) -> None:
    timings = {name: f"{seconds * 1000:.1f}ms" for name, seconds in durations.items()}
    line = " ".join(f"{key}={value}" for key, value in {**facts, **timings}.items())
    access.info(line, extra={"facts": facts | {"seconds": durations}})


def request_id(headers: Headers) -> str:
    """The id of a request: its own, where that cannot harm a log, or a new one."""
    offered = headers.get("X-Request-ID", "")
    return offered if REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
