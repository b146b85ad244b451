"""What a request asks for, apart from its image; and what it gets."""

from dataclasses import dataclass, field
from time import monotonic

from service.errors import InvalidRequest
from service.jobs import Priority
from service.photographs import ImageFormat, Output
from service.served_models import ServedModel
from service.settings import Settings
from service.treatments import Treatment


@dataclass(frozen=True)
class Terms:
    """How urgent an answer is."""

    default_timeout: float
    timeout: float | None = None
    """Seconds within which the client wants the answer; None where it does not say."""
    priority: Priority = Priority.INTERACTIVE
    began: float = field(default_factory=monotonic)

    @classmethod
    def asked(cls, settings: Settings, timeout: float | None, priority: Priority) -> "Terms":
        """Those of a request; raises InvalidRequest where it asks for more time than there is for one."""
        most = settings.max_request_timeout
        if timeout is not None and timeout > most:
            raise InvalidRequest(f"X-Request-Timeout is {timeout:g}; at most {most:g} seconds are accepted")
        return cls(settings.request_timeout, timeout, priority)

    @property
    def silent(self) -> bool:
        """Whether the client has not said how long it waits."""
        return self.timeout is None

    @property
    def seconds(self) -> float:
        """Within which the answer is wanted."""
        return self.timeout or self.default_timeout

    def deadline(self) -> float:
        """When (`time.monotonic`) the answer is late: from the request's arrival where it says so, else from now."""
        return (self.began if self.timeout else monotonic()) + self.seconds


@dataclass(frozen=True)
class Order:
    """What is to become of one image."""

    treatment: Treatment
    terms: Terms
    output: Output
    mask: bytes | None = None
    """A file, of what is to be painted of it; None: all."""

    @property
    def model(self) -> ServedModel:
        """The most important one that takes part."""
        return self.treatment.models[0]


@dataclass(frozen=True)
class Answer:
    """An image file, and what made it."""

    content: bytes
    format: ImageFormat
    models: tuple[ServedModel, ...]

    @property
    def model(self) -> ServedModel:
        """The most important one that took part."""
        return self.models[0]
