"""By when an answer is wanted, and how urgently."""

from dataclasses import dataclass

from service.engine.priority import Priority


@dataclass(frozen=True)
class Deadline:
    """The time after which an answer is late: what would be late is not admitted."""

    at: float
    """A time of `time.monotonic`."""
    priority: Priority = Priority.INTERACTIVE
    is_default: bool = False
    """Whether the client has named no timeout: then it may leave before."""
    grace: float = 0.0
    """Seconds for which an admitted answer is still computed that is late, since the device became slower."""
    admitted_before: bool = False
    """Whether another replica had admitted the request, and was lost."""

    @property
    def end(self) -> float:
        """The time after which the answer is given up."""
        return self.at + self.grace
