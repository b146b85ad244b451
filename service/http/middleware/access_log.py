"""ASGI middleware: gives every request its trace, its id, its metrics and its line in the access log."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone, ServiceError
from service.http.probes import PROBES_AND_METRICS, state_paths
from service.http.request_id import request_id
from service.pipeline.trace import Trace
from service.telemetry.log import log_line
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Propagation, Span, Tracing

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that become metric labels; all others are counted as `other`."""


LONGEST_EXEMPLAR = 128 - len("request_id")
"""Characters of a request id that OpenMetrics has room for beside its name."""

LONGEST_TEXT = 256
"""Characters of what a client chooses that are logged."""

ATTRIBUTES = {
    "id": "pastiche.request.id",
    "client": "client.address",
    "method": "http.request.method",
    "path": "url.path",
    "route": "http.route",
    "status": "http.response.status_code",
    "bytes_in": "http.request.body.size",
    "bytes_out": "http.response.body.size",
    "agent": "user_agent.original",
    "model": "pastiche.model",
    "key": "pastiche.key",
    "problem": "error.type",
}
"""What the members of a log line are called in a span (the semantic conventions of OpenTelemetry)."""


@dataclass
class Volume:
    """How much of a request and of its answer has passed, in bytes of bodies, as they were sent."""

    received: int = 0
    sent: int = 0


class AccessLog:
    """The outermost middleware. Routes find the Trace at `request.state.trace`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing, prefix: str = "") -> None:
        """`prefix`: that of all paths, which a proxy may have left there."""
        self._app = app
        self._untraced = state_paths(prefix)
        self._metrics = metrics
        self._tracing = tracing
        self._propagation = Propagation()
        self._logger = logging.getLogger("service.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, volume = _path(scope), Volume()
        tracing = self._propagation if path in self._untraced else self._tracing
        trace, span = new_trace(Headers(scope=scope), tracing)
        scope.setdefault("state", {})["trace"] = trace

        async def receive_counted() -> Message:
            message = await receive()
            volume.received += len(message.get("body", b""))
            return message

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = trace.request_id
                headers.update(trace.context.headers() if trace.context else {})
            volume.sent += len(message.get("body", b""))
            await send(message)

        with self._metrics.requests_in_progress.track_inprogress():
            try:
                await self._app(scope, receive_counted, send_traced)
            finally:
                self._record(scope, trace, span, path, volume)

    def _record(self, scope: Scope, trace: Trace, span: Span, path: str, volume: Volume) -> None:
        seconds = trace.elapsed()
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "other")
        self._measure(route, method, seconds, trace)
        facts: dict[str, str | int] = {
            "id": trace.request_id,
            "client": scope["client"][0] if scope.get("client") else "",
            "method": method,
            "path": path,
            "route": route,
            "status": trace.status,
            "bytes_in": volume.received,
            "bytes_out": volume.sent,
        }
        agent = Headers(scope=scope).get("User-Agent", "")[:LONGEST_TEXT]
        facts |= trace.facts() | ({"agent": agent} if agent else {})
        level = logging.DEBUG if route in PROBES_AND_METRICS else logging.INFO
        log_line(self._logger, facts, trace.durations | {"total": seconds}, level)
        failed = trace.status >= ServiceError.status
        span.end(f"{method} {route}", _attributes(facts), trace.stages, failed=failed)

    def _measure(self, route: str, method: str, seconds: float, trace: Trace) -> None:
        self._metrics.requests.labels(route, method, trace.status).inc()
        example = {"request_id": trace.request_id} if len(trace.request_id) <= LONGEST_EXEMPLAR else None
        self._metrics.request_duration.labels(route, method).observe(seconds, example)
        trace.observe_stages(self._metrics)
        if trace.status == ClientGone.status:
            self._metrics.cancelled.labels(trace.last_stage).inc()
        elif trace.problem or trace.status == ServiceError.status:  # a failing probe is 503 and rejects nobody
            self._metrics.rejected.labels(trace.problem or ServiceError.kind).inc()


def new_trace(headers: Headers, tracing: Tracing) -> tuple[Trace, Span]:
    """The trace of a request with these headers, and its span, which begins now."""
    span = tracing.begin(headers.getlist("traceparent"), headers.getlist("tracestate"))
    return Trace(request_id(headers.get("X-Request-ID", "")), span.context), span


def _path(scope: Scope) -> str:
    """The path as the client sent it, percent-encoded and without the query, which may hold what nobody should read.

    Taken before a middleware puts a prefix before it.
    """
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path.decode("latin-1")[:LONGEST_TEXT]


def _attributes(facts: Mapping[str, str | int]) -> dict[str, str | int]:
    """The members of a log line as attributes of a span; the ids of the trace are the span's own."""
    return {ATTRIBUTES[name]: value for name, value in facts.items() if name in ATTRIBUTES and value != ""}
