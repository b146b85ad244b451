"""Refuses at the door while the service is full, for less than it costs to find that out inside.

Clients that retry at once would else take from those who wait the processor that their answers need. A refusal stands
for a moment (`StandingRefusals`), and is given at the end of a period, which bounds how often each connection can
ask. Only what got as far as admission before is refused here: what is wrong with a request is said however full the
service is. What is refused here is counted, but neither timed nor logged.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple

from starlette.datastructures import Headers

from service.errors import ClientGone, Overloaded, render
from service.metrics import Metrics
from service.question import MOST_READ, Fields, Question, of_url, told
from service.standing import MOST_STANDING, StandingRefusals
from service.trace import request_id
from service.trace_context import TraceContext

logger = logging.getLogger(__name__)

GUARDED = {"/v1/stylize/": "/v1/stylize/{style}", "/v1/upscale/": "/v1/upscale/{scale}"}
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


Answer = Callable[[Refusal, bytes, bytes], bool]
"""Sends a refusal to the request of that id, with more header fields; false where the client has left."""


class Waiting(NamedTuple):
    """A request that was refused and is told at the end of the period."""

    question: Question
    refusal: Overloaded
    instance: bytes
    own: bytes
    answer: Answer


class Turnstile:
    """Says who is refused, and lets them wait for it."""

    def __init__(self, refusals: StandingRefusals, metrics: Metrics, default_timeout: float, longest: float) -> None:
        """The timeouts are those of `question`."""
        self._refusals = refusals
        self._metrics = metrics
        self._begins = tuple(begin.encode() for begin in GUARDED)
        self._question = lru_cache(maxsize=512)(partial(of_url, default_timeout=default_timeout, longest=longest))
        self._rendered = lru_cache(maxsize=MOST_STANDING)(Refusal)
        self._waiting: list[Waiting] = []

    def refuses(self, url: bytes, fields: Fields, answer: Answer) -> bool:
        """Whether a POST of that URL and header is refused; then it is answered at the end of the period.

        Clients that come again and again send the same head again, which is read once.
        """
        if not self._refusals or len(url) > MOST_READ or not url.startswith(self._begins):
            return False
        known = told(fields)
        asked = self._question(url, known) if known else None
        refusal = self._refusals.of(asked) if asked else None
        if asked is None or refusal is None:
            return False
        if not self._waiting:
            asyncio.get_running_loop().call_later(PERIOD - monotonic() % PERIOD, self._give)
        self._waiting.append(Waiting(asked, refusal, *_own(fields), answer))
        return True

    def _give(self) -> None:
        waiting, self._waiting = self._waiting, []
        for (route, status, kind), count in Counter(map(self._given, waiting)).items():
            self._metrics.requests.labels(route, "POST", status).inc(count)
            if kind:
                self._metrics.rejected.labels(kind).inc(count)
            else:
                self._metrics.cancelled.labels("before").inc(count)

    def _given(self, one: Waiting) -> tuple[str, int, str]:
        """The route, the status and the kind of what was answered, no kind where the client had left."""
        try:
            answered = one.answer(self._rendered(one.refusal), one.instance, one.own)
        except Exception:
            logger.exception("a refusal could not be sent")
            answered = False
        route = _route(one.question.asked[0])
        return (route, one.refusal.status, one.refusal.kind) if answered else (route, ClientGone.status, "")


def _route(path: str) -> str:
    return next(route for begin, route in GUARDED.items() if path.startswith(begin))


def _own(fields: Fields) -> tuple[bytes, bytes]:
    """The id of a request, and the fields by which its answer continues the client's trace."""
    headers = dict(fields)
    instance = request_id(headers.get(b"x-request-id", b"").decode("latin-1")).encode()
    if b"traceparent" not in headers:
        return instance, b""
    trace = TraceContext.continued(Headers(raw=list(fields)))
    lines = trace.headers().items() if trace else ()
    return instance, "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")
