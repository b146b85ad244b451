"""The load generator against a server of a few lines."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import JPEG, Outcome, Plan, Request, drive, driving, outcome


class Answering(BaseHTTPRequestHandler):
    """Does what the path says; the body of a picture is the body of the request."""

    protocol_version = "HTTP/1.1"
    waiting = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path:
            case "/picture":
                self.answer(200, JPEG + body)
            case "/text":
                self.answer(200, b"no picture")
            case "/busy":
                self.answer(503, b"busy", {"Retry-After": "3600"})
            case "/late":
                self.answer(504, b"late")
            case "/closing":
                self.answer(200, JPEG, {"Connection": "close"})
            case "/hinting":
                self.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                self.answer(200, JPEG)
            case "/endless":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            case "/never":
                self.waiting.set()
                self.rfile.read(1)  # until the client leaves

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what went wrong."""


@contextmanager
def answering() -> Iterator[int]:
    """The port of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def body(tmp_path: Path) -> str:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 100_000)
    return str(path)


def kinds(found: Outcome) -> list[str]:
    return [answer.kind for answer in found.answers]


def test_requests_are_sent_in_turn_until_their_count(body: str) -> None:
    paths = ("/picture", "/text", "/late", "/closing")
    with answering() as port:
        requests = tuple(Request(path, body) for path in paths)
        found = drive(Plan(port, requests, clients=1, seconds=60, count=8))
    assert kinds(found) == ["ok", "failed", "expired", "ok"] * 2
    assert [answer.request for answer in found.answers] == [0, 1, 2, 3] * 2
    assert [answer.status for answer in found.answers] == [200, 200, 504, 200] * 2
    assert found.elapsed >= max(answer.began for answer in found.answers)
    assert found.rate == 4 / found.elapsed


def test_answers_of_other_forms(body: str) -> None:
    with answering() as port:
        requests = tuple(Request(path, body) for path in ("/hinting", "/endless", "/picture"))
        found = drive(Plan(port, requests, clients=1, seconds=60, count=3))
    assert kinds(found) == ["ok", "failed", "ok"]


def test_connecting_takes_of_the_timeout(body: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # one or two are taken, and nobody answers them
        plan = Plan(listener.getsockname()[1], (Request("/picture", body),), clients=6, seconds=0.5, timeout=0.3)
        found = drive(plan)
    assert kinds(found) == ["timeout"] * 12


def test_every_client_has_one_request_in_flight(body: str) -> None:
    with answering() as port:
        found = drive(Plan(port, (Request("/picture", body),), clients=5, seconds=60, count=50))
    assert kinds(found) == ["ok"] * 50
    assert sum(answer.began < min(a.began + a.seconds for a in found.answers) for answer in found.answers) == 5


def test_a_client_leaves_after_its_timeout_and_goes_on(body: str) -> None:
    with answering() as port:
        requests = (Request("/never", body), Request("/picture", body))
        found = drive(Plan(port, requests, clients=1, seconds=60, count=4, timeout=1.0))
    assert kinds(found) == ["timeout", "ok"] * 2


def test_retry_after_is_honoured_up_to_the_end_of_the_plan(body: str) -> None:
    with answering() as port:
        found = drive(Plan(port, (Request("/busy", body),), clients=3, seconds=0.5))
    assert kinds(found) == ["refused"] * 3


def test_or_it_is_not(body: str) -> None:
    with answering() as port:
        plan = Plan(port, (Request("/busy", body),), clients=1, seconds=60, count=5, honour_retry_after=False)
        found = drive(plan)
    assert kinds(found) == ["refused"] * 5


def test_a_plan_that_is_cut_awaits_nothing(body: str) -> None:
    with answering() as port:
        found = drive(Plan(port, (Request("/never", body),), clients=2, seconds=0.3, cut=True))
    assert kinds(found) == []


def test_a_plan_that_is_stopped_tells_what_it_has(body: str) -> None:
    with answering() as port:
        plan = Plan(port, (Request("/picture", body), Request("/never", body)), clients=1, seconds=600, timeout=600)
        Answering.waiting.clear()
        with driving(plan) as process:
            assert Answering.waiting.wait(60)
            found = outcome(process, stop=True)
    assert kinds(found) == ["ok"]


def test_nobody_there_is_a_failure(body: str) -> None:
    with answering() as port:
        pass
    found = drive(Plan(port, (Request("/picture", body),), clients=1, seconds=60, count=2))
    assert kinds(found) == ["failed"] * 2
