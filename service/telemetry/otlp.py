"""Spans by OpenTelemetry, delivered to a collector by OTLP over HTTP. Needs the extra `otel`.

What a setting of the service does not say, OpenTelemetry's own variables do: OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS.
"""

from collections.abc import Mapping, Sequence
from time import time_ns

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry.metrics import package_version
from service.telemetry.trace_context import TraceContext
from service.telemetry.tracing import Span, Stage

EXPORT_SECONDS = 5.0
"""How long one delivery to the collector may take, at the end of the service too."""

NANOSECONDS = 1_000_000_000


class OpenTelemetry:
    """Every request has a span, in the client's trace or in one of its own, and each of its stages one below that."""

    def __init__(self, exporter: SpanExporter) -> None:
        """`exporter`: where spans go, from a thread of its own. A request never waits for it."""
        ours = Resource({"service.name": "pastiche", "service.version": package_version()})
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pastiche", package_version())
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparents: Sequence[str], tracestates: Sequence[str], *, ago: float = 0.0) -> Span:
        """A child of the client's span; the root of a new trace where there is none, or more than one."""
        carrier = {"traceparent": list(traceparents), "tracestate": list(tracestates)}
        parent = self._propagator.extract(carrier) if len(traceparents) == 1 else None
        began = time_ns() - round(ago * NANOSECONDS)
        span = self._tracer.start_span("HTTP", parent, api.SpanKind.SERVER, start_time=began)
        client = api.get_current_span(parent).get_span_context() if parent is not None else api.INVALID_SPAN_CONTEXT
        return _RecordedSpan(self._tracer, span, _context(span.get_span_context(), client), began)

    def close(self) -> None:
        """Deliver what was recorded; what cannot be delivered within EXPORT_SECONDS is lost."""
        self._provider.shutdown()


class _RecordedSpan:
    """The span of one request."""

    def __init__(self, tracer: api.Tracer, span: api.Span, context: TraceContext, began: int) -> None:
        """`began`: when, in nanoseconds since 1970."""
        self.context: TraceContext | None = context
        self._tracer = tracer
        self._span = span
        self._began = began

    def end(self, name: str, attributes: Mapping[str, str | int], stages: Sequence[Stage], *, failed: bool) -> None:
        """Hand the span and those of its stages to the exporter."""
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(api.StatusCode.ERROR)
        parent = api.set_span_in_context(self._span)
        for stage in stages:
            self._tracer.start_span(stage.name, parent, start_time=self._at(stage.began)).end(self._at(stage.ended))
        self._span.end()

    def _at(self, seconds: float) -> int:
        return self._began + round(seconds * NANOSECONDS)


def _context(own: api.SpanContext, client: api.SpanContext) -> TraceContext:
    parent = api.format_span_id(client.span_id) if client.is_valid else ""
    ids = api.format_trace_id(own.trace_id), parent, api.format_span_id(own.span_id)
    return TraceContext(*ids, int(own.trace_flags), own.trace_state.to_header())


def connect(endpoint: str) -> OpenTelemetry:
    """Spans go to the collector whose OTLP address over HTTP is `endpoint`, such as http://127.0.0.1:4318."""
    return OpenTelemetry(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS))
