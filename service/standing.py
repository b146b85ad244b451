"""Refusals of a moment ago, which hold for requests like those that were refused: they cost less than new ones."""

from dataclasses import dataclass
from time import monotonic

from service.errors import Overloaded
from service.question import ANY_SIZE, Question

STANDING_SECONDS = 0.5
"""After so long somebody is let in to see whether a refusal still holds. Where nothing comes of that, it ends."""

MOST_STANDING = 256
"""So many refusals at most are held at a time."""


@dataclass
class Standing:
    """A refusal that holds until `end` (`time.monotonic`), and as long again while it is tried whether it does."""

    refusal: Overloaded
    end: float
    places: int = 0
    """So many are let in to see whether there is room for them."""
    tried: bool = False
    """Whether somebody was let in because of the time, of whom nothing is known yet."""

    @property
    def over(self) -> bool:
        """Whether nobody has asked for it, or nothing has become of who was let in."""
        now = monotonic()
        return now > self.end + STANDING_SECONDS or (self.tried and now > self.end)

    @property
    def open(self) -> bool:
        """Whether there is a place, or it is time to try."""
        return self.places > 0 or monotonic() > self.end

    def let_in(self) -> None:
        """One who was let in takes a place, or is the one who tries."""
        if self.places:
            self.places -= 1
        else:
            self.end, self.tried = monotonic() + STANDING_SECONDS, True


class StandingRefusals:
    """What was refused lately; false where nothing stands.

    Those who were refused together come back together. So where there may be room again, because something was answered
    or admitted or because time has passed, one of them is let in, and the others are refused as before until it has
    been decided on.
    """

    def __init__(self) -> None:
        self._held: dict[Question, Standing] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def remember(self, refusal: Overloaded, question: Question) -> None:
        """Let a refusal stand for requests like that one; of too many the oldest goes."""
        if len(self._held) >= MOST_STANDING and question not in self._held:
            del self._held[next(iter(self._held))]
        held = Overloaded(refusal.detail, headers=refusal.headers, **refusal.members)  # its traceback holds the body
        self._held[question] = Standing(held, monotonic() + STANDING_SECONDS)

    def of(self, question: Question) -> Overloaded | None:
        """The refusal that holds for a request; None lets it in."""
        both = [self._standing(key) for key in (question._replace(size=ANY_SIZE), question)]
        standing = [one for one in both if one is not None]
        for one in standing:
            if not one.open:
                return one.refusal
        for one in standing:
            one.let_in()
        return None

    def make_room(self) -> None:
        """Something was answered or admitted: there may be room for one more."""
        for standing in self._held.values():
            standing.places += 1

    def clear(self) -> None:
        """Nothing is refused any more."""
        self._held.clear()

    def _standing(self, question: Question) -> Standing | None:
        standing = self._held.get(question)
        if standing is None or not standing.over:
            return standing
        del self._held[question]
        return None
