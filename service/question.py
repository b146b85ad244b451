"""What can be known of a request before it is let in, and by which a refusal of one holds for others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from httptools import parse_url

from service.preference import Preference

ANY_SIZE = -1

Fields = Sequence[tuple[bytes, bytes]]
"""Of the header of a request: names in lower case, and values."""

READ = frozenset({b"accept", b"content-length", b"prefer", b"x-request-timeout"})
"""What is read of a header."""

MOST_READ = 4096
"""Bytes of it, and of the URL, at most: what is kept of clients is bounded."""


class Question(NamedTuple):
    """What can be known of a request before it is let in. A refusal of one holds for those that are equal to it."""

    asked: tuple[str, ...]
    """The path, and all that could make another failure of it."""
    patience: int
    """`patience_class` of the seconds within which the answer is wanted."""
    silent: bool
    """Whether the client has not said so."""
    size: int
    """`size_class` of the body's length, for that of the image; or ANY_SIZE where it did not matter."""


def patience_class(seconds: float) -> int:
    """Four for each doubling, for clients may send what is left of their time. Raises ValueError for 0 and less."""
    return math.floor(4 * math.log2(seconds))


def size_class(length: int) -> int:
    """One for each doubling, for the files of images of one size differ as much."""
    return length.bit_length()


def told(fields: Fields) -> Fields | None:
    """What is read of a header; None where any of it is there twice, or it is too long."""
    known = tuple(field for field in fields if field[0] in READ)
    once = len({name for name, _ in known}) == len(known)
    return known if once and sum(len(value) for _, value in known) <= MOST_READ else None


def of_url(url: bytes, fields: Fields, default_timeout: float, longest: float) -> Question | None:
    """As `question`, of a URL as it was sent. Raises ValueError where it is none."""
    parsed = parse_url(url)
    path = unquote(parsed.path.decode("ascii")).rstrip("/")  # as `NormalForm` has it
    scope = {"path": path, "query_string": parsed.query or b"", "headers": fields}
    return question(scope, default_timeout, longest)


def question(scope: Mapping[str, Any], default_timeout: float, longest: float) -> Question | None:
    """What the head of a request says; None where that is nonsense, or does not say how long the body is.

    `default_timeout` is that of requests that name none, `longest` the most that they may name.
    """
    known = told(scope["headers"])
    if known is None:
        return None
    headers = dict(known)
    if Preference.of([headers.get(b"prefer", b"").decode("latin-1")]).respond_async:  # a job can wait
        return None
    said = headers.get(b"x-request-timeout")
    try:
        seconds = default_timeout if said is None else float(said)
        patience = patience_class(seconds)
        size = size_class(int(headers[b"content-length"]))
    except (KeyError, ValueError, OverflowError):
        return None
    asked = (scope["path"], scope["query_string"].decode("latin-1"), headers.get(b"accept", b"").decode("latin-1"))
    if seconds > longest or sum(map(len, asked)) > MOST_READ:
        return None
    return Question(asked, patience, said is None, size)
