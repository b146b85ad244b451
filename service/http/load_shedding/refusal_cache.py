"""Refusals of a moment ago, which hold for requests of the same class: cheaper than deciding again."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from service.errors import Overloaded
from service.http.load_shedding.request_class import ANY_SIZE, RequestClass

HOLD_SECONDS = 0.5
"""Seconds after which one request is let through, to see whether the refusal still holds."""

MAX_ENTRIES = 256


@dataclass
class CachedRefusal:
    """A refusal that holds until `end`. Then a request probes whether it still does, while it holds for the others.

    How long it takes to decide on the probe is of no account: were all let through while that takes long, deciding on
    them would take longer still.
    """

    refusal: Overloaded
    hold: float
    end: float
    places: int = 0
    """Requests that may be let through since there may be room for them."""

    def is_expired(self, now: float) -> bool:
        """Whether no request has asked for it for so long."""
        return now > self.end + self.hold

    def lets_through(self, now: float) -> bool:
        """Whether a request may be let through."""
        return self.places > 0 or now > self.end

    def let_through(self, now: float) -> None:
        """A request was let through: it takes a place, or is the probe."""
        if self.places:
            self.places -= 1
        else:
            self.end = now + self.hold


class RefusalCache:
    """The recent refusals; false where there are none. A `CapacityListener` of the admission.

    Requests that were refused together come back together. So where there may be room again, because something was
    admitted or answered or because time has passed, one of them is let through, and the others are refused as before
    until that one is decided on; one that is admitted makes room for the next one to be let through.
    """

    def __init__(
        self,
        hold_seconds: float = HOLD_SECONDS,
        max_entries: int = MAX_ENTRIES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._hold_seconds = hold_seconds
        self._max_entries = max_entries
        self._clock = clock
        self._entries: dict[RequestClass, CachedRefusal] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def store(self, refusal: Overloaded, request_class: RequestClass) -> None:
        """Let a refusal hold for requests of that class. Of too many entries the oldest one goes."""
        if len(self._entries) >= self._max_entries and request_class not in self._entries:
            del self._entries[next(iter(self._entries))]
        end = self._clock() + self._hold_seconds
        kept = refusal.copy()  # the original's traceback holds the request's body
        self._entries[request_class] = CachedRefusal(kept, self._hold_seconds, end)

    def find(self, request_class: RequestClass) -> Overloaded | None:
        """The refusal that holds for a request of that class; None lets the request through."""
        now = self._clock()
        entries = [self._entry(key, now) for key in (request_class._replace(size_class=ANY_SIZE), request_class)]
        holding = [entry for entry in entries if entry is not None]
        for entry in holding:
            if not entry.lets_through(now):
                return entry.refusal
        for entry in holding:
            entry.let_through(now)
        return None

    def capacity_changed(self) -> None:
        """Let one more request of each class through."""
        for entry in self._entries.values():
            entry.places += 1

    def refusals_invalid(self) -> None:
        """Refuse nothing any more."""
        self._entries.clear()

    def _entry(self, key: RequestClass, now: float) -> CachedRefusal | None:
        entry = self._entries.get(key)
        if entry is None or not entry.is_expired(now):
            return entry
        del self._entries[key]
        return None
