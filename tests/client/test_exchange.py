import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from client.exchange import Call, Hopeless, Refused, exchange

Answers = list[tuple[int, dict[str, str], bytes]]


@contextmanager
def server(answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers, one after the other, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = answers[len(asked) - 1]
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_address[1]}", asked
        finally:
            made.shutdown()
            thread.join()


def send(url: str, call: Call) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(base_url=url) as client:
            return await exchange(client, call, b"image")

    return asyncio.run(run())


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for, which are skipped."""
    seen: list[float] = []
    pause: Callable[[float], object] = asyncio.sleep

    async def skip(seconds: float) -> None:
        seen.append(seconds)
        await pause(0)  # type: ignore[misc]

    monkeypatch.setattr("client.exchange.asyncio.sleep", skip)
    return seen


def test_busy_service_is_asked_again_after_as_long_as_it_says(waits: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    busy: Answers = [
        (503, {"Retry-After": "7"}, b"{}"),
        (429, {"Retry-After": later}, b""),
        (502, {}, b""),
        (503, {"Retry-After": "soon"}, b""),
        (503, {"Retry-After": "86400"}, b""),
        (200, {}, b"done"),
    ]
    with server(busy) as (url, asked):
        assert send(url, Call("/x", {"quality": "80"})).content == b"done"
    assert asked == ["/x?quality=80"] * 6
    assert waits[0] == 7
    assert 20 < waits[1] <= 30
    assert 0.5 <= waits[2] <= 1
    assert 1 <= waits[3] <= 2
    assert waits[4] == 60


def test_retries_come_to_an_end(waits: list[float]) -> None:
    problem = b'{"type": "/problems/overloaded", "detail": "full"}'
    with server([(503, {"Retry-After": "1"}, problem)] * 3) as (url, asked), pytest.raises(Refused, match="full"):
        send(url, Call("/x", retries=2))
    assert len(asked) == 3
    assert waits == [1, 1]


@pytest.mark.parametrize(
    ("status", "kind", "failure"),
    [(415, "unsupported-image", Refused), (404, "unknown-model", Hopeless), (422, "invalid-request", Hopeless)],
)
def test_what_will_not_change_is_not_asked_again(status: int, kind: str, failure: type[Refused]) -> None:
    problem = f'{{"type": "/problems/{kind}", "detail": "no"}}'.encode()
    with server([(status, {}, problem)]) as (url, asked), pytest.raises(Refused, match="no") as refused:
        send(url, Call("/x"))
    assert type(refused.value) is failure
    assert len(asked) == 1


def test_foreign_answers_are_understood_as_far_as_possible() -> None:
    with server([(500, {}, b"<html>oops</html>")]) as (url, _), pytest.raises(Refused, match="HTTP 500"):
        send(url, Call("/x"))


def test_nobody_there_is_said_to_be(waits: list[float]) -> None:
    with pytest.raises(Refused, match=r"no answer from http://127\.0\.0\.1:9"):
        send("http://127.0.0.1:9", Call("/x", retries=1))
    assert len(waits) == 1
