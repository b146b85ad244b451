"""What is recorded about one request on its way: its id, its model, and how long each stage took."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from service.engine.inference_request import InferenceRequest
from service.errors import ServiceError
from service.telemetry.metrics import Metrics
from service.telemetry.trace_context import TraceContext
from service.telemetry.tracing import Stage


@dataclass
class Trace:
    """Filled in as the request goes on. Durations are in seconds of `clock`."""

    request_id: str
    context: TraceContext | None = None
    """The span of this request in the client's distributed trace; None where the client sent none."""
    model: str = ""
    version: int = 0
    key: str = ""
    """The name of the client's API key; empty without one."""
    problem: str = ""
    """The kind of the problem that was answered; empty for a success."""
    status: int = ServiceError.status
    durations: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage, in the order in which the stages began."""
    stages: list[Stage] = field(default_factory=list)
    """Each time that a stage took, in the order in which they ended."""
    inferences: list[InferenceRequest[Any]] = field(default_factory=list)
    """The inference requests that were admitted for it: its progress."""
    clock: Callable[[], float] = perf_counter

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._running: Counter[str] = Counter()
        self._since: dict[str, float] = {}

    def elapsed(self) -> float:
        """Seconds since the request came."""
        return self.clock() - self._began

    @property
    def last_stage(self) -> str:
        """The stage that began last, `before` where none did."""
        return next(reversed(self.durations), "before")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a part of the stage `name`, also when it fails. Concurrent blocks count once."""
        if not self._running[name]:
            self._since[name] = self.clock()
        self._running[name] += 1
        try:
            yield
        finally:
            self._running[name] -= 1
            if not self._running[name]:
                began, ended = self._since[name], self.clock()
                self.durations[name] = self.durations.get(name, 0.0) + ended - began
                self.stages.append(Stage(name, began - self._began, ended - self._began))

    def add(self, durations: Mapping[str, float]) -> None:
        """Stages that were timed elsewhere, in seconds: one after another, the last of which ends now."""
        self.durations |= durations
        began = self.elapsed() - sum(durations.values())
        for name, seconds in durations.items():
            self.stages.append(Stage(name, began, began + seconds))
            began += seconds

    def server_timing(self) -> str:
        """The stages so far as the value of a Server-Timing header, in milliseconds."""
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in self.durations.items())

    def facts(self) -> dict[str, str | int]:
        """The model, the problem and the distributed trace, as members of a log line; what is not known is left out."""
        facts: dict[str, str | int] = {"model": f"{self.model}@{self.version}"} if self.model else {}
        facts |= {"key": self.key} if self.key else {}
        facts |= {"problem": self.problem} if self.problem else {}
        return facts | (self.context.facts() if self.context else {})

    def observe_stages(self, metrics: Metrics) -> None:
        """Add the durations of the stages to the histograms."""
        for stage, seconds in self.durations.items():
            metrics.stage_duration.labels(stage, self.model).observe(seconds)
