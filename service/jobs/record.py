"""What is kept of a job: what it is to do, how far it is, how it ended, and whether its webhook was delivered."""

import uuid
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from service.errors import ServiceError
from service.pipeline.requests import StoredImageRequest
from service.pipeline.result import Result
from service.pipeline.trace import Trace
from service.telemetry.trace_context import TraceContext


class Callback(BaseModel):
    """Where a client wants to hear of the end of its job."""

    model_config = ConfigDict(frozen=True)

    url: str
    message_id: str = Field(default_factory=lambda: f"msg_{uuid.uuid4().hex}")
    """The same in every attempt to deliver the webhook, by which a receiver knows what it has already."""

    @cached_property
    def host(self) -> str:
        """The host of the URL in lower case; empty where there is none."""
        try:
            return urlsplit(self.url).hostname or ""
        except ValueError:
            return ""


class JobRecord(BaseModel):
    """What a job is to do. Written once."""

    model_config = ConfigDict(frozen=True)

    id: str
    request: StoredImageRequest
    fingerprint: str
    """Equal for equal requests and files."""
    request_id: str
    """Of the HTTP request that created it."""
    context: TraceContext | None = None
    callback: Callback | None = None
    owner: str = ""
    """The name of a key, or a network address: whose unfinished jobs are counted together."""
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))


class JobProgress(BaseModel):
    """How far a job is that has not ended."""

    model_config = ConfigDict(frozen=True)

    started: datetime | None = None
    tiles: int = 0
    """Of all its inference requests; 0 until it is admitted."""
    tiles_done: int = 0
    """How many of them have been on the device."""
    seconds: dict[str, float] = {}
    """Spent in each stage so far."""

    @classmethod
    def of(cls, trace: Trace, started: datetime) -> Self:
        """The progress of the request that a trace is of."""
        return cls(
            started=started,
            tiles=sum(inference.tile_count for inference in trace.inferences),
            tiles_done=sum(inference.tiles_done for inference in trace.inferences),
            seconds=dict(trace.durations),
        )


class StoredFailure(BaseModel):
    """A failure that can be raised again."""

    model_config = ConfigDict(frozen=True)

    kind: str
    detail: str
    members: dict[str, Any] = {}

    @classmethod
    def of(cls, failure: ServiceError) -> Self:
        """The part of a failure that clients are told."""
        return cls(kind=failure.kind, detail=failure.detail, members=failure.members)

    def error(self) -> ServiceError:
        """The failure as an exception of its own type."""
        kind = next((kind for kind in ServiceError.kinds() if kind.kind == self.kind), ServiceError)
        failure = kind.__new__(kind)
        ServiceError.__init__(failure, self.detail, **self.members)
        return failure


class JobOutcome(BaseModel):
    """How a job ended: with a result, or with a failure."""

    model_config = ConfigDict(frozen=True)

    started: datetime | None = None
    finished: datetime = Field(default_factory=lambda: datetime.now(UTC))
    tiles: int = 0
    result: Result | None = None
    failure: StoredFailure | None = None

    @classmethod
    def failed(cls, failure: ServiceError) -> Self:
        """The outcome of a job that failed."""
        return cls(failure=StoredFailure.of(failure))


class DeliveryState(StrEnum):
    """Whether a webhook is still to be delivered."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(BaseModel):
    """How far the delivery of a webhook is."""

    model_config = ConfigDict(frozen=True)

    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    next_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it is attempted again, while it is pending."""
