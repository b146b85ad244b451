"""Refuses at the door while the service is full, for less than it costs to find that out inside.

Clients that retry at once would else take from those who wait the processor that their answers need. A refusal stands
for a moment (`StandingRefusals`), and is given at the end of a period, which bounds how often each connection can
ask. Only what got as far as admission before is refused here: what is wrong with a request is said however full the
service is. What is refused here is counted, but neither timed nor logged.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from time import monotonic
from typing import Any

from service.errors import Overloaded, render
from service.metrics import Metrics
from service.preference import Preference
from service.standing import Question, StandingRefusals
from service.trace import request_id

GUARDED = {"/v1/stylize/": "/v1/stylize/{style}", "/v1/upscale/": "/v1/upscale/{scale}"}
"""How the paths begin of which a full service refuses requests, and their routes' templates."""

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


class Turnstile:
    """Says who is refused, and lets them wait for it."""

    def __init__(self, refusals: StandingRefusals, metrics: Metrics, default_timeout: float) -> None:
        self._refusals = refusals
        self._metrics = metrics
        self._default_timeout = default_timeout
        self._rendered = lru_cache(maxsize=8)(Refusal)
        self._waiting: list[tuple[Mapping[str, Any], Overloaded, Answer]] = []

    def refusal(self, scope: Mapping[str, Any]) -> Overloaded | None:
        """The one that stands for a request, of which method, path, query and headers are known; None lets it in."""
        if scope["method"] != "POST" or not _guarded(scope["path"]):
            return None
        asked = question(scope, self._default_timeout)
        return self._refusals.of(asked) if asked else None

    def turn_away(self, scope: Mapping[str, Any], refusal: Overloaded, answer: Answer) -> None:
        """Have a request answered at the end of the period."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(PERIOD - monotonic() % PERIOD, self._give)
        self._waiting.append((scope, refusal, answer))

    def _give(self) -> None:
        waiting, self._waiting = self._waiting, []
        for (route, refusal), count in Counter(
            (_guarded(scope["path"]), refusal) for scope, refusal, _ in waiting
        ).items():
            self._metrics.requests.labels(route, "POST", refusal.status).inc(count)
            self._metrics.rejected.labels(refusal.kind).inc(count)
        for scope, refusal, answer in waiting:
            answer(self._rendered(refusal), _instance(scope))


def question(scope: Mapping[str, Any], default_timeout: float) -> Question | None:
    """What a request's head says of it; None where it is nonsense, or does not say how long the body is."""
    headers = dict(scope["headers"])
    prefer = headers.get(b"prefer")
    if prefer and Preference.of([prefer.decode("latin-1")]).respond_async:  # a job can wait
        return None
    said = headers.get(b"x-request-timeout")
    try:
        seconds = default_timeout if said is None else float(said)
        length = int(headers[b"content-length"])
    except (KeyError, ValueError):
        return None
    asked = (scope["path"], scope["query_string"].decode("latin-1"), headers.get(b"accept", b"").decode("latin-1"))
    return Question(asked, seconds, said is None, length) if seconds > 0 else None


def _guarded(path: str) -> str:
    """The route's template, empty where nothing is refused at the door."""
    return next((route for begin, route in GUARDED.items() if path.startswith(begin)), "")


def _instance(scope: Mapping[str, Any]) -> bytes:
    offered = dict(scope["headers"]).get(b"x-request-id", b"")
    return request_id(offered.decode("latin-1")).encode()
