"""By when an answer is wanted, and how urgently."""

from dataclasses import dataclass

from service.engine.priority import Priority


@dataclass(frozen=True)
class Deadline:
    """The time after which an answer is late."""

    at: float
    """A time of `time.monotonic`."""
    priority: Priority = Priority.INTERACTIVE
    is_default: bool = False
    """Whether the client has named no timeout: then it may leave before."""
