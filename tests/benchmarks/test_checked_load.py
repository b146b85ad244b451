import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.checked_load import CheckedLoad, Question, Tally, ask

HELD = threading.Event()


class Answers(BaseHTTPRequestHandler):
    """What each path of the tests is answered."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # http.server's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path:
            case "/echo":
                self._answer(200, body)
            case "/held":
                HELD.wait()
                self._answer(200, body)
            case "/refusal":
                self._answer(503, b"", {"Retry-After": "1"})
            case "/failure":
                self._answer(500, b"broken")
            case _:
                self.close_connection = True  # without an answer

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield http.server_address[1]
        finally:
            http.shutdown()
            thread.join()


def load(*questions: Question, count: int) -> Tally:
    """What comes of the questions until so many requests have ended."""
    with server() as port:
        loading = CheckedLoad(port, questions, clients=2)
        with loading.running(rate=200) as tally:
            while sum(tally.statuses.values()) + len(tally.lost) < count:
                threading.Event().wait(0.01)
    return tally


def test_right_answers_are_told_from_those_to_others() -> None:
    right, other = Question("/echo", b"a", b"a"), Question("/echo", b"b", b"a")
    tally = load(right, other, count=10)
    assert tally.answered
    assert set(tally.mixed_up) == {"/echo"}
    assert tally.statuses[200] == len(tally.answered) + len(tally.mixed_up)
    assert tally.lost == []


def test_refusal_is_no_loss_and_a_failure_is() -> None:
    tally = load(Question("/refusal", b"", b""), count=4)
    assert (tally.lost, tally.answered, set(tally.statuses)) == ([], [], {503})
    assert "500 b'broken'" in load(Question("/failure", b"", b""), count=4).lost[0]


def test_request_without_an_answer_is_lost() -> None:
    tally = load(Question("/closed", b"", b""), count=4)
    assert "RemoteDisconnected" in tally.lost[0]
    assert sum(tally.statuses.values()) == 0


def test_gap_reaches_from_answer_to_answer_and_to_the_ends() -> None:
    tally = Tally(answered=[3.0, 1.0, 9.0])
    assert tally.longest_gap(0.0, 4.0) == 2.0
    assert tally.longest_gap(2.0, 8.0) == 5.0
    assert tally.longest_gap(10.0, 12.0) == 2.0


def test_single_question_has_a_connection_of_its_own() -> None:
    with server() as port:
        assert ask(port, "/echo", b"content") == (200, b"content")


def test_client_that_waits_for_an_answer_sends_nothing() -> None:
    with server() as port:
        loading = CheckedLoad(port, [Question("/held", b"a", b"a")], clients=2)
        HELD.clear()
        with loading.running(rate=1e6) as tally:
            while loading.sent < 2:
                threading.Event().wait(0.01)
            threading.Event().wait(0.2)
            sent = loading.sent
            HELD.set()
    assert sent == 2
    assert loading.sent == tally.statuses[200] >= 2
