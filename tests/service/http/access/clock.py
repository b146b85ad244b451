"""A clock that a test winds forward."""

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds that pass only when told to."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now
