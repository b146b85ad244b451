"""Refuses at the door while the service is full, for less than it costs to find that out inside.

Clients that retry at once would else take from those who wait the processor that their answers need. A refusal stands
for a moment (`StandingRefusals`), and is given at the end of a period, which bounds how often each connection can
ask. Only what got as far as admission before is refused here: what is wrong with a request is said however full the
service is. What is refused here is counted, but neither timed nor logged.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from time import monotonic
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from httptools import parse_url

from service.errors import Overloaded, render
from service.metrics import Metrics
from service.preference import Preference
from service.standing import Question, StandingRefusals, patience_class, size_class
from service.trace import request_id

GUARDED = {b"/v1/stylize/": "/v1/stylize/{style}", b"/v1/upscale/": "/v1/upscale/{scale}"}
"""How the URLs begin of which a full service refuses requests, and their routes' templates."""

PERIOD = 0.048
"""Seconds, at whose multiples refusals are given: all those together that wait for it, which costs less for each."""

INSTANCE = "instance-of-a-refusal"
"""Stands for the id of a request in what is rendered once for many."""


class Refusal:
    """A refusal as it is sent, but for the id of the request, rendered once for all that get it."""

    def __init__(self, error: Overloaded) -> None:
        answer = render(error, INSTANCE)
        self._before, self._after = bytes(answer.body).split(INSTANCE.encode())
        own = (b"content-length", b"x-request-id")
        fields = b"".join(b"%s: %s\r\n" % field for field in answer.raw_headers if field[0] not in own)
        self._head = b"HTTP/1.1 %d %s\r\n%s" % (error.status, HTTPStatus(error.status).phrase.encode(), fields)

    def message(self, instance: bytes, fields: bytes) -> bytes:
        """The whole answer to a request of that id, with more header fields, each with its line's end."""
        length = len(self._before) + len(instance) + len(self._after)
        own = b"content-length: %d\r\nx-request-id: %s\r\n\r\n" % (length, instance)
        return b"".join((self._head, fields, own, self._before, instance, self._after))


Answer = Callable[[Refusal, bytes], None]
"""Sends a refusal to the request of that id."""

Fields = tuple[tuple[bytes, bytes], ...]
"""Of the header of a request: names in lower case, and values."""


class Head(NamedTuple):
    """What the head of a request says that may be refused: all that is needed for it."""

    route: str
    question: Question
    offered: str
    """Its own id, empty where it has none."""

    @classmethod
    def of(cls, url: bytes, fields: Fields, default_timeout: float) -> Self | None:
        """None where the request is let in, whatever has been refused. Raises ValueError where the URL is none."""
        route = next((route for begin, route in GUARDED.items() if url.startswith(begin)), "")
        if not route:
            return None
        parsed, headers = parse_url(url), dict(fields)
        path = unquote(parsed.path.decode("ascii"))
        scope = {"path": path, "query_string": parsed.query or b"", "headers": fields}
        asked = question(scope, default_timeout)
        return cls(route, asked, headers.get(b"x-request-id", b"").decode("latin-1")) if asked else None


class Turnstile:
    """Says who is refused, and lets them wait for it."""

    def __init__(self, refusals: StandingRefusals, metrics: Metrics, default_timeout: float) -> None:
        self._refusals = refusals
        self._metrics = metrics
        self._head = lru_cache(maxsize=512)(partial(Head.of, default_timeout=default_timeout))
        self._rendered = lru_cache(maxsize=8)(Refusal)
        self._waiting: list[tuple[Head, Overloaded, Answer]] = []

    def refuses(self, url: bytes, fields: Fields, answer: Answer) -> bool:
        """Whether a POST of that URL and header is refused; then it is answered at the end of the period.

        Clients that come again and again send the same head again, which is read once.
        """
        head = self._head(url, fields)
        refusal = self._refusals.of(head.question) if head else None
        if head is None or refusal is None:
            return False
        if not self._waiting:
            asyncio.get_running_loop().call_later(PERIOD - monotonic() % PERIOD, self._give)
        self._waiting.append((head, refusal, answer))
        return True

    def _give(self) -> None:
        waiting, self._waiting = self._waiting, []
        for (route, refusal), count in Counter((head.route, refusal) for head, refusal, _ in waiting).items():
            self._metrics.requests.labels(route, "POST", refusal.status).inc(count)
            self._metrics.rejected.labels(refusal.kind).inc(count)
        for head, refusal, answer in waiting:
            answer(self._rendered(refusal), request_id(head.offered).encode())


def question(scope: Mapping[str, Any], default_timeout: float) -> Question | None:
    """What a request's head says of it; None where it is nonsense, or does not say how long the body is."""
    headers = dict(scope["headers"])
    prefer = headers.get(b"prefer")
    if prefer and Preference.of([prefer.decode("latin-1")]).respond_async:  # a job can wait
        return None
    said = headers.get(b"x-request-timeout")
    try:
        patience = patience_class(default_timeout if said is None else float(said))
        size = size_class(int(headers[b"content-length"]))
    except (KeyError, ValueError, OverflowError):
        return None
    asked = (scope["path"], scope["query_string"].decode("latin-1"), headers.get(b"accept", b"").decode("latin-1"))
    return Question(asked, patience, said is None, size)
