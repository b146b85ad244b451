"""How urgent work is: who goes first."""

from dataclasses import dataclass
from enum import StrEnum


class Priority(StrEnum):
    """Whether somebody waits for the answer."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True)
class SchedulingPolicy:
    """How urgent work is: the tile that is due first runs first."""

    stretch: float = 10.0
    """An answer is due after `stretch` times the work that it takes, so that small images are due before large ones and
    before animations."""
    longest_pause: float = 5.0
    """Seconds after its latest tile in which the next one of a request is due, however many small requests arrive."""
    bulk_delay: float = 60.0
    """Seconds by which bulk work is due later than interactive work of the same size."""

    def delay(self, priority: Priority) -> float:
        """Seconds by which work of that priority is due later."""
        return self.bulk_delay if priority is Priority.BULK else 0.0
