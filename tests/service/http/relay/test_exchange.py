"""Calls as values: an application answers them as it answers requests."""

import asyncio
import pickle

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.http.relay.exchange import HttpAnswer, HttpCall, exchange, was_admitted_before

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/stylize/wave",
    "raw_path": b"/v1/stylize/w%61ve",
    "query_string": b"size=64",
    "headers": [(b"connection", b"close"), (b"prefer", b"respond-async"), (b"accept", b"image/png")],
    "client": ("192.0.2.7", 1234),
    "server": ("example.com", 443),
    "scheme": "https",
}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body and what it was told of the request."""
    request = Request(scope, receive)
    body = await request.body()
    client = request.client.host if request.client else ""
    headers = {"x-url": str(request.url), "x-client": client, "x-accept": request.headers.get("accept", "")}
    await Response(body, 201, headers)(scope, receive, send)


def test_application_sees_the_request_as_it_was() -> None:
    call = pickle.loads(pickle.dumps(HttpCall.of(SCOPE, b"body")))
    answer = asyncio.run(exchange(echo, call))
    headers = dict(answer.headers)
    assert (answer.status, answer.body) == (201, b"body")
    assert headers[b"x-url"] == b"https://example.com/v1/stylize/wave?size=64"
    assert (headers[b"x-client"], headers[b"x-accept"]) == (b"192.0.2.7", b"image/png")
    assert call.raw_path == b"/v1/stylize/w%61ve"


async def tell_admitted_before(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(str(was_admitted_before(Request(scope, receive))))(scope, receive, send)


@pytest.mark.parametrize("before", [False, True])
def test_application_knows_whether_a_lost_replica_had_the_request(before: bool) -> None:
    call = HttpCall("POST", "/", b"/", admitted_before=before)
    assert asyncio.run(exchange(tell_admitted_before, call)).body == str(before).encode()
    assert not was_admitted_before(Request(SCOPE))


def test_fields_of_the_connection_stay_behind() -> None:
    assert HttpCall.of(SCOPE, b"").headers == ((b"prefer", b"respond-async"), (b"accept", b"image/png"))
    assert HttpCall.of(SCOPE, b"", frozenset({b"prefer"})).headers == ((b"accept", b"image/png"),)


def test_client_that_waits_never_seems_to_leave() -> None:
    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watching = asyncio.create_task(_ignore(receive))
        await asyncio.wait([watching], timeout=0)
        await Response(b"left" if watching.done() else b"there")(scope, receive, send)
        watching.cancel()

    assert asyncio.run(exchange(watch, HttpCall("GET", "/", b"/"))) == HttpAnswer(
        200, ((b"content-length", b"5"),), b"there"
    )


def test_client_that_waits_no_more_has_left() -> None:
    told: list[str] = []

    async def watch(_scope: Scope, receive: Receive, _send: Send) -> None:
        told.extend([(await receive())["type"] for _ in range(2)])
        await asyncio.sleep(0)
        told.append("ended")

    async def leave() -> None:
        waiting = asyncio.create_task(exchange(watch, HttpCall("GET", "/", b"/")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    assert told == ["http.request", "http.disconnect", "ended"]


def test_failure_of_an_application_is_raised() -> None:
    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(exchange(fail, HttpCall("GET", "/", b"/")))


async def _ignore(receive: Receive) -> None:
    await receive()
