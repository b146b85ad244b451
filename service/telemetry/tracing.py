"""Spans of requests in distributed traces: continued and passed on, and where there is a collector, recorded."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from service.telemetry.trace_context import TraceContext


class Stage(NamedTuple):
    """A part of a request, in seconds since the request began."""

    name: str
    began: float
    ended: float


class Span(Protocol):
    """This service's part of a trace."""

    @property
    def context(self) -> TraceContext | None:
        """Its ids, for the answer, the log and jobs; None where the request belongs to no trace."""

    def end(self, name: str, attributes: Mapping[str, str | int], stages: Sequence[Stage], *, failed: bool) -> None:
        """Record it, with a span for each stage."""


class Tracing(Protocol):
    """Creates the span of each request and job."""

    def begin(self, traceparents: Sequence[str], tracestates: Sequence[str], *, ago: float = 0.0) -> Span:
        """The span of a request or a job with these header values, which began `ago` seconds ago."""

    def close(self) -> None:
        """Deliver what was recorded. Blocks, for a bounded time."""


class UnrecordedSpan(NamedTuple):
    """A span of which nothing but its ids is known."""

    context: TraceContext | None

    def end(self, name: str, attributes: Mapping[str, str | int], stages: Sequence[Stage], *, failed: bool) -> None:
        """Nothing is recorded."""


class Propagation:
    """The client's trace goes on (W3C Trace Context); nothing is recorded."""

    def begin(self, traceparents: Sequence[str], tracestates: Sequence[str], *, ago: float = 0.0) -> Span:  # noqa: ARG002
        """A span without a trace of its own where the client has none."""
        return UnrecordedSpan(TraceContext.continued(traceparents, tracestates))

    def close(self) -> None:
        """There is nothing to deliver."""
