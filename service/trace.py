"""One request as logs, metrics and headers see it: its id, its model, and how long each stage took."""

import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone, ServiceError
from service.jobs import Job
from service.metrics import Metrics
from service.trace_context import TraceContext

REQUEST_ID = re.compile(r"[A-Za-z0-9._~:@=+/-]{1,128}")
"""The ids that are taken over from clients; others could forge lines of the log."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

access = logging.getLogger("service.access")


@dataclass
class Trace:
    """Filled in on the way of one request. Durations are in seconds."""

    request_id: str
    context: TraceContext | None = None
    """The span of this request in the client's trace, where it is part of one."""
    began: float = field(default_factory=perf_counter)
    model: str = ""
    version: int = 0
    problem: str = ""
    status: int = ServiceError.status
    durations: dict[str, float] = field(default_factory=dict)
    jobs: list[Job[Any]] = field(default_factory=list)
    """What was admitted for it, so that its progress can be seen."""
    _running: Counter[str] = field(default_factory=Counter)
    _since: dict[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> str:
        """The last stage that began."""
        return next(reversed(self.durations), "before")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a part of the stage `name`, also when it fails; blocks side by side count once."""
        if not self._running[name]:
            self._since[name] = perf_counter()
        self._running[name] += 1
        try:
            yield
        finally:
            self._running[name] -= 1
            if not self._running[name]:
                self.durations[name] = self.durations.get(name, 0.0) + perf_counter() - self._since[name]

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
        headers = Headers(scope=scope)
        trace = Trace(request_id(headers.get("X-Request-ID", "")), TraceContext.continued(headers))
        scope.setdefault("state", {})["trace"] = trace

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = trace.request_id
                answer.update(trace.context.headers() if trace.context else {})
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
        facts |= trace.context.facts() if trace.context else {}
        log_line(access, facts, trace.durations | {"total": seconds})

    def _measure(self, route: str, method: str, seconds: float, trace: Trace) -> None:
        self.metrics.requests.labels(route, method, trace.status).inc()
        self.metrics.request_duration.labels(route, method).observe(seconds)
        measure_stages(self.metrics, trace)
        if trace.status == ClientGone.status:
            self.metrics.cancelled.labels(trace.reached).inc()
        elif trace.problem or trace.status == ServiceError.status:  # not the probes' 503, which refuses nobody
            self.metrics.rejected.labels(trace.problem or ServiceError.kind).inc()


def measure_stages(metrics: Metrics, trace: Trace) -> None:
    """Add the stages of a request, or of a job, to the histograms."""
    for stage, duration in trace.durations.items():
        metrics.stage_duration.labels(stage, trace.model).observe(duration)


def log_line(logger: logging.Logger, facts: dict[str, object], durations: dict[str, float]) -> None:
    """One line for what has ended: its facts, and how long its parts took."""
    timings = {name: f"{seconds * 1000:.1f}ms" for name, seconds in durations.items()}
    line = " ".join(f"{key}={value}" for key, value in {**facts, **timings}.items())
    logger.info(line, extra={"facts": facts | {"seconds": durations}})


def request_id(offered: str) -> str:
    """The id of a request: its own, where that cannot harm a log, or a new one."""
    return offered if REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
