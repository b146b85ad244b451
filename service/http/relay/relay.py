"""The ingress of several replicas: reads a request, has one of them answer it, and asks another where that one is lost.

It has no network and no codec. An accepted request is lost only with the ingress itself: its body is kept until there
is an answer, and the same request again is the same answer. `/metrics` are those of all replicas, each of which decides
by its own settings and keys whether the client may have them.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Protocol

from fastapi import Request, Response
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone, JobsNotShared, Overloaded, ReplicaLost, ServiceError
from service.http.access.api_key import Right
from service.http.body import read_undecoded
from service.http.body_budget import BodyBudget
from service.http.disconnect import while_connected
from service.http.failure_forms import PROBLEMS
from service.http.idempotency_key import IDEMPOTENCY_KEY_HEADER, new_key
from service.http.middleware.access_control import METRICS, needed_right
from service.http.middleware.body_reservation import BodyReservation, Upload
from service.http.middleware.path_normalization import normalize_path
from service.http.middleware.unexpected_failures import UnexpectedFailures
from service.http.middleware.unshared_jobs import PREFERENCE, concerns_jobs
from service.http.relay.exchange import HttpAnswer, HttpCall
from service.http.request_id import request_id
from service.http.root_path import route_path, without_prefix
from service.http.upload_pace import Pace
from service.settings import Settings
from service.telemetry.merging import merge_expositions
from service.telemetry.metrics import Metrics

Application = ASGIApp
"""For parts outside `http`, which do not import it."""

logger = logging.getLogger(__name__)

KEY = IDEMPOTENCY_KEY_HEADER.lower().encode()
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Replicas(Protocol):
    """Those that answer."""

    async def answer(self, key: str, call: HttpCall) -> HttpAnswer:
        """The answer of one replica, if possible the same one for equal keys.

        Raises ReplicaLost where it ended before it had answered, Overloaded where no replica takes the call.
        """

    async def scrape(self, call: HttpCall) -> Sequence[tuple[str, HttpAnswer]]:
        """The name of each replica that can be reached, and its answer to a call for its metrics."""

    async def expositions(self) -> Sequence[tuple[str, bytes]]:
        """The name and the metrics, in Prometheus' text format, of everything else that can be reached: no replica."""


class Relay:
    """Takes requests and has replicas answer them."""

    def __init__(self, settings: Settings, replicas: Replicas, metrics: Metrics, *, jobs_are_shared: bool) -> None:
        """`jobs_are_shared`: whether every replica knows the jobs of all others."""
        self._settings = settings
        self._replicas = replicas
        self._metrics = metrics
        self._jobs_are_shared = jobs_are_shared

    def application(self) -> ASGIApp:
        """The ASGI application, whose request bodies share a budget as those of a lone service do."""
        budget, pace = BodyBudget(self._settings.max_body_bytes_in_flight, self._metrics), Pace.of(self._settings)
        handlers = {ServiceError: self._refuse, Exception: self._fail}
        middleware = [
            Middleware(BodyReservation, new_upload=partial(Upload, budget, pace)),
            Middleware(UnexpectedFailures, respond=self._fail),
        ]
        routes = [Route("/{path:path}", self.answer, methods=list(METHODS))]
        return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)  # type: ignore[arg-type]

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""
        path = self._path(request)
        if path == METRICS and request.method in ("GET", "HEAD"):
            return await self.scrape(request)
        return await self.relay(request, path)

    def _path(self, request: Request) -> str:
        """The path of a request without prefix and final slash."""
        return normalize_path(without_prefix(route_path(request.scope), self._settings.root_path))

    async def relay(self, request: Request, path: str) -> Response:
        """The answer of a replica; `path` is that of `_path`."""
        if not self._jobs_are_shared and concerns_jobs(path, request.scope["headers"]):
            raise JobsNotShared
        body = await read_undecoded(request, self._settings.max_body_bytes, self._settings.request_timeout)
        # jobs of one replica are unknown to the others: the preference is not applied (RFC 7240, section 2)
        unwanted = frozenset() if self._jobs_are_shared else frozenset({PREFERENCE})
        call = _repeatable(HttpCall.of(request.scope, body, unwanted))
        answer = await while_connected(request.receive, self._answer(path, call))
        return _response(answer)

    async def scrape(self, request: Request) -> Response:
        """The metrics of all replicas, each sample with the name of its replica; as far as they give them this client.

        Raises Overloaded where no replica is there to decide on that.
        """
        call = HttpCall.of(request.scope, b"", frozenset({b"accept"}))  # the text format is merged
        answers = await self._replicas.scrape(replace(call, method="GET"))
        given = {name: answer for name, answer in answers if answer.status == HTTPStatus.OK}
        if not answers:
            raise Overloaded("no replica can be asked for its metrics; retry in 1 s", retry_after=1)
        if not given:
            return _response(answers[0][1])
        texts = {name: answer.body for name, answer in given.items()} | dict(await self._replicas.expositions())
        merged = await asyncio.to_thread(merge_expositions, texts)
        return _response(_with_body(next(iter(given.values())), merged))

    async def _answer(self, path: str, call: HttpCall) -> HttpAnswer:
        """The answer of a replica; of another one, where the first was lost.

        Not for administration: a call twice is not always the same as once.
        """
        try:
            return await self._replicas.answer(path, call)
        except ReplicaLost as lost:
            if needed_right(path) is Right.ADMIN:
                raise
            logger.warning("%s: %s is sent again", lost.detail, call.path)
            self._metrics.relay_retries.inc()
            return await self._answer_again(path, replace(call, admitted_before=True))

    async def _answer_again(self, path: str, call: HttpCall) -> HttpAnswer:
        """The answer to a call that a lost replica had taken on: where the others are full, it waits and is sent again.

        Until the longest timeout is over, or the client leaves.
        """
        end = monotonic() + self._settings.max_request_timeout
        while True:
            answer = await self._answer_or_refusal(path, call)
            wait = _seconds_until_room(answer)
            if wait is not None and monotonic() + wait < end:
                await asyncio.sleep(wait)
            elif isinstance(answer, Overloaded):
                raise answer
            else:
                return answer

    async def _answer_or_refusal(self, path: str, call: HttpCall) -> HttpAnswer | Overloaded:
        """The answer of a replica, or why none takes the call."""
        try:
            return await self._replicas.answer(path, call)
        except Overloaded as refusal:
            return refusal

    async def _refuse(self, request: Request, error: ServiceError) -> Response:
        """The response to a failure that was found here."""
        if isinstance(error, ClientGone):
            return Response(status_code=ClientGone.status)
        renderer = PROBLEMS.renderer(self._path(request))
        return renderer(error, request_id(request.headers.get("X-Request-ID", "")), self._settings.root_path)

    async def _fail(self, request: Request, error: Exception) -> Response:  # noqa: ARG002 # the middleware logs it
        unknown = ServiceError("the service failed; its log has the cause under this request's id")
        return await self._refuse(request, unknown)


def _response(answer: HttpAnswer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = list(answer.headers)
    return response


def _with_body(answer: HttpAnswer, body: bytes) -> HttpAnswer:
    """The same answer with another body."""
    length = (b"content-length", b"%d" % len(body))
    return replace(answer, headers=(*(field for field in answer.headers if field[0] != length[0]), length), body=body)


def _seconds_until_room(answer: HttpAnswer | Overloaded) -> float | None:
    """After which a call that was refused for want of room makes sense again; None where it was not."""
    if isinstance(answer, Overloaded):
        return answer.retry_after
    after = dict(answer.headers).get(b"retry-after", b"")
    return float(after) if answer.status == Overloaded.status and after.isdigit() else None


def _repeatable(call: HttpCall) -> HttpCall:
    """The same call with a key, by which one that prefers a job begins a single one however often it is sent."""
    names = {name for name, _ in call.headers}
    if call.method != "POST" or b"prefer" not in names or KEY in names:
        return call
    return replace(call, headers=(*call.headers, (KEY, new_key().encode())))


def without_request_id(app: ASGIApp) -> ASGIApp:
    """An application that leaves X-Request-ID to its server, which adds the same to every answer (as Ray does)."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [field for field in message["headers"] if field[0] != b"x-request-id"]
            await send(message)

        await app(scope, receive, send_without)

    return answer
