import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import monotonic

import httpx
import pytest

from client.exchange import Call, Refused, RefusedForAll, Unavailable, UnknownModel, exchange
from client.outage import Outage

Answers = list[tuple[int, dict[str, str], bytes]]

PATIENCE = 60.0
"""Seconds, for a busy machine."""

UNREACHABLE = "http://127.0.0.1:9"


@contextmanager
def server(answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """Serve these answers in order; yields the URL and the list of requested paths."""
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

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}", asked
        finally:
            httpd.shutdown()
            thread.join()


def problem(kind: str, detail: str) -> bytes:
    return f'{{"type": "/problems/{kind}", "detail": "{detail}"}}'.encode()


def send(url: str, call: Call, outage: Outage | None = None) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
            return await exchange(client, call, b"image", outage or Outage(60, print))

    return asyncio.run(run())


class Waits(list[float]):
    """Records the requested pauses instead of waiting."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)

    def outage(self, patience: float = 60, tell: Callable[[str], None] = print) -> Outage:
        return Outage(patience, tell, self.sleep)


@pytest.fixture
def waits() -> Waits:
    return Waits()


def test_busy_service_is_asked_again_after_as_long_as_it_says(waits: Waits) -> None:
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
        assert send(url, Call("/x", {"quality": "80"}), waits.outage()).content == b"done"
    assert asked == ["/x?quality=80"] * 6
    assert waits[0] == 7
    assert 20 < waits[1] <= 30
    assert 0.5 <= waits[2] <= 1
    assert 1 <= waits[3] <= 2
    assert waits[4] == 60


def test_retries_are_limited(waits: Waits) -> None:
    with (
        server([(503, {"Retry-After": "1"}, problem("overloaded", "full"))] * 3) as (url, asked),
        pytest.raises(Refused, match="full"),
    ):
        send(url, Call("/x", retries=2), waits.outage())
    assert len(asked) == 3
    assert waits == [1, 1]


@pytest.mark.parametrize(
    ("status", "kind", "failure"),
    [(415, "unsupported-image", Refused), (404, "unknown-model", UnknownModel), (404, "not-found", RefusedForAll)],
)
def test_final_answers_are_not_retried(status: int, kind: str, failure: type[Refused]) -> None:
    with server([(status, {}, problem(kind, "no"))]) as (url, asked), pytest.raises(Refused, match="no") as refused:
        send(url, Call("/x"))
    assert type(refused.value) is failure
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("probe_answer", "failure"),
    [
        ((422, {}, problem("invalid-request", "no")), RefusedForAll),
        ((422, {}, problem("invalid-request", "no, it is 1×1")), Refused),
        ((503, {"Retry-After": "1"}, problem("overloaded", "full")), Refused),
        ((200, {}, b"done"), Refused),
    ],
)
def test_refusal_holds_for_all_images_if_the_probe_image_gets_the_same_problem(
    probe_answer: tuple[int, dict[str, str], bytes], failure: type[Refused]
) -> None:
    answers = [(422, {}, problem("invalid-request", "no")), probe_answer]
    with server(answers) as (url, asked), pytest.raises(Refused, match="no") as refused:
        send(url, Call("/x", {"width": "9"}))
    assert type(refused.value) is failure
    assert asked == ["/x?width=9"] * 2


def test_answers_without_a_problem_are_described_by_their_status() -> None:
    with server([(500, {}, b"<html>oops</html>")]) as (url, _), pytest.raises(Refused, match="HTTP 500"):
        send(url, Call("/x"))


def test_unreachable_service_is_waited_for_as_long_as_patience_lasts() -> None:
    said: list[str] = []
    outage, began = Outage(0.5, said.append), monotonic()
    with pytest.raises(Unavailable, match=rf"no answer from {UNREACHABLE}: .*; gave up after 0\.5 s"):
        send(UNREACHABLE, Call("/x", retries=0), outage)
    assert monotonic() - began >= 0.5
    with pytest.raises(Unavailable):
        send(UNREACHABLE, Call("/x"), outage)
    assert len(said) == 1
    assert said[0].startswith(f"waiting up to 0.5 s for the service: no answer from {UNREACHABLE}")


def test_without_patience_there_is_no_wait(waits: Waits) -> None:
    said: list[str] = []
    with pytest.raises(Unavailable, match="no answer"):
        send(UNREACHABLE, Call("/x"), waits.outage(0, said.append))
    assert (waits, said) == ([], [])


def test_starting_or_stopping_service_uses_no_retries(waits: Waits) -> None:
    said: list[str] = []
    loading = (503, {"Retry-After": "1"}, problem("model-unavailable", "the models are being loaded"))
    draining = (503, {"Retry-After": "1"}, problem("draining", "stopping"))
    with server([draining] * 5 + [loading] * 5 + [(200, {}, b"done")]) as (url, _):
        assert send(url, Call("/x", retries=0), waits.outage(60, said.append)).content == b"done"
    assert said == ["waiting up to 60 s for the service: stopping"]
    assert waits == [1] * 10


def test_model_that_cannot_be_loaded_is_not_waited_for(waits: Waits) -> None:
    broken: Answers = [(503, {}, problem("model-unavailable", "wave could not be loaded"))]
    with server(broken * 2) as (url, _), pytest.raises(Refused, match="could not be loaded") as refused:
        send(url, Call("/x", retries=1), waits.outage())
    assert type(refused.value) is Refused


def test_every_answer_ends_an_outage(waits: Waits) -> None:
    said: list[str] = []
    outage = waits.outage(60, said.append)
    with pytest.raises(Refused), server([(502, {}, b""), (400, {}, b"")]) as (url, _):
        send(url, Call("/x"), outage)
    with server([(502, {}, b""), (200, {}, b"done")]) as (url, _):
        send(url, Call("/x"), outage)
    assert len(said) == 2


def test_image_that_crashes_the_server_is_sent_a_limited_number_of_times(waits: Waits) -> None:
    """A connection that ends during a request may have been ended by the image."""
    with server([(502, {}, b"")] * 3) as (url, asked), pytest.raises(Refused, match="HTTP 502") as refused:
        send(url, Call("/x", retries=2), waits.outage())
    assert type(refused.value) is Refused
    assert len(asked) == 3
