"""The load generator against a server of a few lines, and how it reads answers."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import (
    JPEG,
    Outcome,
    Plan,
    Request,
    Response,
    ResponseReader,
    run_plan,
    running_plan,
    wait_for_outcome,
)

ANSWERS: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "/text": (200, b"no picture", {}),
    "/busy": (503, b"busy", {"Retry-After": "3600"}),
    "/refusing": (429, b"", {"Retry-After": "0.01"}),
    "/late": (504, b"late", {}),
    "/closing": (200, JPEG, {"Connection": "close"}),
}
"""Status, body and further fields."""

WRITTEN: dict[str, tuple[bytes, ...]] = {
    "/hinting": (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + JPEG),
    "/endless": (b"HTTP/1.1 200 OK\r\n\r\n",),
    "/chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\xff\r\n2\r\n\xd8x\r\n0\r\n\r\n",),
    "/pieces": (b"HTTP/1.1 200 OK\r\nContent-", b"Length: 4\r\n\r", b"\n", JPEG[:1], JPEG[1:], b"xx"),
    "/nothing": (b"HTTP/1.1 204 No Content\r\n\r\n",),
    "/unchanged": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",),
    "/cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + JPEG,),
}
"""What is written as it is, piece by piece."""


class Answering(BaseHTTPRequestHandler):
    """Does what the path says; the body of a picture is the body of the request."""

    protocol_version = "HTTP/1.1"
    waiting = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/picture":
            self.answer(200, JPEG + body)
        elif self.path == "/never":
            self.waiting.set()
            self.rfile.read(1)  # until the client leaves
        elif self.path in ANSWERS:
            self.answer(*ANSWERS[self.path])
        else:
            self.write(WRITTEN[self.path])

    def write(self, pieces: tuple[bytes, ...]) -> None:
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(0.02)  # else the pieces arrive as one
        self.close_connection = self.path == "/cut"

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
        found = run_plan(Plan(port, requests, clients=1, seconds=60, count=8))
    assert kinds(found) == ["ok", "failed", "expired", "ok"] * 2
    assert [answer.request for answer in found.answers] == [0, 1, 2, 3] * 2
    assert [answer.status for answer in found.answers] == [200, 200, 504, 200] * 2
    assert found.elapsed >= max(answer.began for answer in found.answers)
    assert found.rate == 4 / found.elapsed


def test_answers_of_other_forms(body: str) -> None:
    with answering() as port:
        requests = tuple(Request(path, body) for path in ("/hinting", "/endless", "/picture"))
        found = run_plan(Plan(port, requests, clients=1, seconds=60, count=3))
    assert kinds(found) == ["ok", "failed", "ok"]


def test_timeout_includes_connecting(body: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # one or two are taken, and nobody answers them
        requests = (Request("/picture", body),)
        found = run_plan(Plan(listener.getsockname()[1], requests, clients=6, seconds=60, count=12, timeout=0.3))
    assert kinds(found) == ["timeout"] * 12


def test_every_client_has_one_request_in_flight(body: str) -> None:
    with answering() as port:
        found = run_plan(Plan(port, (Request("/picture", body),), clients=5, seconds=60, count=50))
    assert kinds(found) == ["ok"] * 50
    assert sum(answer.began < min(a.began + a.seconds for a in found.answers) for answer in found.answers) == 5


def test_a_client_leaves_after_its_timeout_and_goes_on(body: str) -> None:
    with answering() as port:
        requests = (Request("/never", body), Request("/picture", body))
        found = run_plan(Plan(port, requests, clients=1, seconds=60, count=4, timeout=1.0))
    assert kinds(found) == ["timeout", "ok"] * 2


def test_retry_after_is_honoured_up_to_the_end_of_the_plan(body: str) -> None:
    with answering() as port:
        found = run_plan(Plan(port, (Request("/busy", body),), clients=3, seconds=0.5))
    assert kinds(found) == ["refused"] * 3


def test_retry_after_is_ignored_if_the_plan_says_so(body: str) -> None:
    with answering() as port:
        plan = Plan(port, (Request("/busy", body),), clients=1, seconds=60, count=5, honour_retry_after=False)
        found = run_plan(plan)
    assert kinds(found) == ["refused"] * 5


def test_a_plan_that_aborts_at_its_end_awaits_nothing(body: str) -> None:
    with answering() as port:
        found = run_plan(Plan(port, (Request("/never", body),), clients=2, seconds=0.3, abort_at_end=True))
    assert kinds(found) == []


def test_a_plan_that_is_stopped_tells_what_it_has(body: str) -> None:
    with answering() as port:
        plan = Plan(port, (Request("/picture", body), Request("/never", body)), clients=1, seconds=600, timeout=600)
        Answering.waiting.clear()
        with running_plan(plan) as process:
            assert Answering.waiting.wait(60)
            found = wait_for_outcome(process, stop=True)
    assert kinds(found) == ["ok"]


def test_refused_connection_is_a_failure(body: str) -> None:
    with answering() as port:
        pass
    found = run_plan(Plan(port, (Request("/picture", body),), clients=1, seconds=60, count=2))
    assert kinds(found) == ["failed"] * 2


def test_bodies_that_come_in_chunks_or_in_many_pieces(body: str) -> None:
    with answering() as port:
        requests = tuple(Request(path, body) for path in ("/chunked", "/pieces"))
        found = run_plan(Plan(port, requests, clients=1, seconds=60, count=4))
    assert kinds(found) == ["ok"] * 4


def test_an_answer_without_a_body_is_complete_with_its_head(body: str) -> None:
    with answering() as port:
        requests = tuple(Request(path, body) for path in ("/nothing", "/unchanged", "/picture"))
        found = run_plan(Plan(port, requests, clients=1, seconds=60, count=3))
    assert [(answer.kind, answer.status) for answer in found.answers] == [("failed", 204), ("failed", 304), ("ok", 200)]
    assert found.elapsed < 60


def test_a_connection_closed_in_the_middle_is_a_failure_and_opened_again(body: str) -> None:
    with answering() as port:
        requests = (Request("/cut", body), Request("/picture", body))
        found = run_plan(Plan(port, requests, clients=1, seconds=60, count=4))
    assert [(answer.kind, answer.status) for answer in found.answers] == [("failed", 0), ("ok", 200)] * 2


def test_a_client_goes_on_after_a_short_retry_after(body: str) -> None:
    with answering() as port:
        found = run_plan(Plan(port, (Request("/refusing", body),), clients=1, seconds=60, count=3))
    assert kinds(found) == ["refused"] * 3
    assert found.answers[2].began >= 0.02


def test_load_generator_imports_no_torch() -> None:
    program = "import sys, benchmarks.load; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def read(*pieces: bytes) -> Response | None:
    """What a new reader makes of these pieces."""
    reader = ResponseReader()
    found = [reader.feed(piece) for piece in pieces]
    assert found[:-1] == [None] * (len(pieces) - 1)
    return found[-1]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


def test_reader_takes_an_answer_in_single_bytes() -> None:
    whole = HEAD + b"RETRY-AFTER: 1.5 \r\n\r\nab"
    assert read(*(whole[i : i + 1] for i in range(len(whole)))) == Response(200, 1.5, b"ab", keep_alive=True)


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (HEAD, True),
        (HEAD + b"Connection: CLOSE\r\n", False),
        (HEAD.replace(b"1.1", b"1.0"), False),
        (HEAD.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n", True),
    ],
)
def test_reader_tells_whether_the_connection_stays(head: bytes, keep_alive: bool) -> None:
    assert read(head + b"\r\nab") == Response(200, 0, b"ab", keep_alive)


@pytest.mark.parametrize("more", [b"c", b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"])
def test_reader_ignores_what_follows_the_answer(more: bytes) -> None:
    assert read(HEAD + b"\r\nab" + more) == Response(200, 0, b"ab", keep_alive=True)


def test_reader_forgets_the_fields_of_an_interim_answer() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
    assert read(hint, hint, HEAD + b"\r\nab") == Response(200, 0, b"ab", keep_alive=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP at all",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: soon\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    ],
)
def test_reader_refuses_what_it_cannot_read(answer: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read(answer)


def test_reader_starts_again_after_an_error_or_half_an_answer() -> None:
    reader = ResponseReader()
    for rest in (HEAD, HEAD + b"\r\na"):
        reader.feed(rest)
        reader.start()
    with pytest.raises(ValueError, match="cannot be read"):
        reader.feed(b"no HTTP")
    reader.start()
    assert reader.feed(HEAD + b"\r\nab") == Response(200, 0, b"ab", keep_alive=True)
