"""Load shedding: while the service is full, requests like those just refused are refused without an ASGI call.

Clients that retry at once would otherwise take the processor from the answers that others wait for. A refusal holds for
half a second at most (`RefusalCache`). It is sent at the end of a period, which bounds how often a connection can ask,
and of many refusals only some are sent at the end of one, which bounds how often all connections can. Only requests
that would have reached admission are refused here, so that other faults are reported however full the service is. They
are counted, but neither timed nor logged.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple

from starlette.datastructures import Headers

from service.errors import ClientGone, Overloaded
from service.http.load_shedding.refusal_cache import MAX_ENTRIES, RefusalCache
from service.http.load_shedding.request_class import (
    MAX_BYTES,
    Fields,
    RequestClass,
    classify_url,
    classifying_fields,
)
from service.http.middleware.access_log import new_trace
from service.http.problems import render
from service.http.request_id import request_id
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Propagation

logger = logging.getLogger(__name__)

ROUTES = {"/v1/stylize/": "/v1/stylize/{style}", "/v1/upscale/": "/v1/upscale/{scale}"}
"""The beginnings of the URLs that are shed, and the templates of their routes."""

PERIOD = 0.048
"""Seconds, at whose multiples refusals are sent: all together, which costs less for each."""

MOST_AT_ONCE = 64
"""Refusals that are sent at the end of a period, unless one would then wait for longer than `LONGEST_PAUSE`: hundreds
of clients that retry at once would take the processor from the answers."""

LONGEST_PAUSE = 1.0
"""Seconds after which every refusal is sent."""

INSTANCE = "instance-of-a-refusal"
"""Stands for the id of the request in a response that is rendered once for many."""


class RenderedRefusal:
    """A refusal as bytes, except for the id of the request; rendered once for all requests that get it."""

    def __init__(self, error: Overloaded, prefix: str = "") -> None:
        """`prefix` is that of all paths."""
        response = render(error, INSTANCE, prefix)
        self._before, self._after = bytes(response.body).split(INSTANCE.encode())
        own = (b"content-length", b"x-request-id")
        fields = b"".join(b"%s: %s\r\n" % field for field in response.raw_headers if field[0] not in own)
        self._head = b"HTTP/1.1 %d %s\r\n%s" % (error.status, HTTPStatus(error.status).phrase.encode(), fields)

    def message(self, instance: bytes, fields: bytes) -> bytes:
        """The whole response to the request of that id. `fields` are more header lines, each with its CRLF."""
        length = len(self._before) + len(instance) + len(self._after)
        own = b"content-length: %d\r\nx-request-id: %s\r\n\r\n" % (length, instance)
        return b"".join((self._head, fields, own, self._before, instance, self._after))


SendRefusal = Callable[[RenderedRefusal, bytes, bytes], bool]
"""Sends a refusal to the request of that id, with more header lines. Returns False where the client has left."""


class PendingRefusal(NamedTuple):
    """A request that is refused and gets its response at the end of the period."""

    request_class: RequestClass
    refusal: Overloaded
    instance: bytes
    fields: bytes
    send: SendRefusal


class LoadShedder:
    """Decides which requests are refused early, and sends the refusals."""

    def __init__(
        self,
        refusals: RefusalCache,
        metrics: Metrics,
        default_timeout: float,
        longest_timeout: float,
        period: float = PERIOD,
        prefix: str = "",
    ) -> None:
        """The timeouts (seconds) are those of `classify`; `prefix` is that of all paths, as clients see them."""
        self._refusals = refusals
        self._metrics = metrics
        self._period = period
        self._prefix = prefix.encode()
        self._routes = tuple(route.encode() for route in ROUTES)
        classify = partial(classify_url, default_timeout=default_timeout, longest=longest_timeout)
        self._classify = lru_cache(maxsize=512)(classify)
        self._render = lru_cache(maxsize=MAX_ENTRIES)(partial(RenderedRefusal, prefix=prefix))
        self._pending: list[PendingRefusal] = []

    @property
    def pending(self) -> int:
        """Refusals that are sent at the end of the period."""
        return len(self._pending)

    @property
    def classified(self) -> int:
        """Classes that are kept for heads which come again, 512 at most."""
        return self._classify.cache_info().currsize

    def refuse(self, url: bytes, fields: Fields, send: SendRefusal) -> bool:
        """Whether a POST of that URL and header is refused; `send` is then called at the end of the period.

        Clients that retry send the same head again, which is classified once.
        """
        url = url.removeprefix(self._prefix)  # a proxy may have left it there
        if not self._refusals or len(url) > MAX_BYTES or not url.startswith(self._routes):
            return False
        known = classifying_fields(fields)
        request_class = self._classify(url, known) if known else None
        refusal = self._refusals.find(request_class) if request_class else None
        if request_class is None or refusal is None:
            return False
        if not self._pending:
            self._send_later()
        self._pending.append(PendingRefusal(request_class, refusal, *_identify(fields), send))
        return True

    def _send_later(self) -> None:
        asyncio.get_running_loop().call_later(self._period - monotonic() % self._period, self._send_pending)

    def _send_pending(self) -> None:
        """Send those that have waited longest; the others wait for the end of the next period."""
        count = max(MOST_AT_ONCE, math.ceil(len(self._pending) * self._period / LONGEST_PAUSE))
        pending, self._pending = self._pending[:count], self._pending[count:]
        if self._pending:
            self._send_later()
        for (route, status, kind), count in Counter(map(self._send, pending)).items():
            self._metrics.requests.labels(route, "POST", status).inc(count)
            if kind:
                self._metrics.rejected.labels(kind).inc(count)
            else:
                self._metrics.cancelled.labels("before").inc(count)

    def _send(self, pending: PendingRefusal) -> tuple[str, int, str]:
        """Send one refusal. Returns its route, status and kind; no kind where the client had left."""
        try:
            sent = pending.send(self._render(pending.refusal), pending.instance, pending.fields)
        except Exception:
            logger.exception("a refusal could not be sent")
            sent = False
        route = _route(pending.request_class.target[0])
        return (route, pending.refusal.status, pending.refusal.kind) if sent else (route, ClientGone.status, "")


def _route(path: str) -> str:
    return next(route for prefix, route in ROUTES.items() if path.startswith(prefix))


def _identify(fields: Fields) -> tuple[bytes, bytes]:
    """The id of a request, and the header lines by which its response continues the client's trace."""
    headers = dict(fields)
    if b"traceparent" not in headers:
        return request_id(headers.get(b"x-request-id", b"").decode("latin-1")).encode(), b""
    trace, _ = new_trace(Headers(raw=list(fields)), Propagation())
    lines = trace.context.headers().items() if trace.context else ()
    return trace.request_id.encode(), "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")
