"""Refusals of a moment ago, which hold for requests like those that were refused: they cost less than new ones."""

from dataclasses import dataclass
from time import monotonic

from service.errors import Overloaded

STANDING_SECONDS = 0.25
"""After so long somebody is let in to see whether a refusal still holds; after twice as long it is forgotten."""

MOST_STANDING = 256
"""So many refusals at most are held at a time."""


@dataclass(frozen=True)
class Question:
    """What can be known of a request before it is let in: by it, a refusal may hold for the next one."""

    asked: tuple[str, ...]
    """What the same refusal is given to: the path, and all that could make another failure of it."""
    seconds: float
    """Within which the answer is wanted."""
    silent: bool
    """Whether the client has not said so."""
    length: int
    """Of the body, which stands for the size of the image."""


@dataclass
class Standing:
    """A refusal that holds for requests like the one that was refused, until `end` (`time.monotonic`)."""

    refusal: Overloaded
    question: Question
    end: float
    places: int = 0
    """So many are let in to see whether there is room for them."""

    def holds_for(self, question: Question) -> bool:
        """Whether a request gives no more time and asks for no less."""
        return question.seconds <= self.question.seconds and question.length >= self.question.length


class StandingRefusals:
    """What was refused lately.

    Those who were refused together come back together. So where there may be room again, because something was answered
    or admitted or because time has passed, one of them is let in, and the others are refused as before until it has
    been decided on.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[tuple[str, ...], bool], Standing] = {}

    def remember(self, refusal: Overloaded, question: Question) -> None:
        """Let a refusal stand for requests like that one."""
        if len(self._held) >= MOST_STANDING:
            self._held.clear()
        held = Overloaded(refusal.detail, headers=refusal.headers, **refusal.members)  # its traceback holds the body
        self._held[question.asked, question.silent] = Standing(held, question, monotonic() + STANDING_SECONDS)

    def of(self, question: Question) -> Overloaded | None:
        """The refusal that holds for a request; None lets it in.

        What was refused to a client that has not said how long it waits is not refused to one that has.
        """
        key, now = (question.asked, question.silent), monotonic()
        last = self._held.get(key)
        if last is None or not last.holds_for(question):
            return None
        if now > last.end + STANDING_SECONDS:
            del self._held[key]
            return None
        if now > last.end:
            last.end, last.places = now + STANDING_SECONDS, last.places + 1
        if last.places:
            last.places -= 1
            return None
        return last.refusal

    def make_room(self) -> None:
        """Something was answered or admitted: there may be room for one more."""
        for standing in self._held.values():
            standing.places += 1

    def clear(self) -> None:
        """Nothing is refused any more."""
        self._held.clear()
