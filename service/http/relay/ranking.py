"""Which replica answers: that of the model, so that its batches fill, or another one while that has too much to do."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def preference(key: str, name: str) -> bytes:
    """How much a replica of that name is preferred for a key: the largest wins (rendezvous hashing).

    A replica that comes or goes changes the first choice of its own keys alone.
    """
    return blake2b(f"{key}\0{name}".encode(), digest_size=8).digest()


def ranked(
    candidates: Sequence[T], key: str, name: Callable[[T], str], seconds: Callable[[T], float], spill_seconds: float
) -> list[T]:
    """Candidates in the order in which they are asked.

    Those whose queued work (`seconds`) is at most `spill_seconds` by preference, then the others, the least busy first.
    """
    by_preference = sorted(candidates, key=lambda each: preference(key, name(each)), reverse=True)
    return sorted(by_preference, key=lambda each: max(spill_seconds, seconds(each)))
