"""A load that comes at a fixed rate, as far as its clients are free, and compares each answer with what it must be."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

ANSWER_SECONDS = 60.0
"""For so long a client waits for an answer."""

REFUSALS = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True)
class Question:
    """A request, and the only right answer to it."""

    path: str
    body: bytes
    answer: bytes


@dataclass
class Tally:
    """What came back. Times are those of `time.monotonic`."""

    statuses: Counter[int] = field(default_factory=Counter)
    answered: list[float] = field(default_factory=list)
    """When right answers came."""
    lost: list[str] = field(default_factory=list)
    """Requests without an answer, or with one that is neither right nor a refusal that says when to come back."""
    mixed_up: list[str] = field(default_factory=list)
    """Answers with status 200 to another request."""

    def longest_gap(self, begin: float, end: float) -> float:
        """The longest time in that interval in which no right answer came, in seconds."""
        times = [begin, *sorted(at for at in self.answered if begin < at < end), end]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


class CheckedLoad:
    """Clients that send the questions in turn, each on a connection of its own as far as it lasts."""

    def __init__(self, port: int, questions: Sequence[Question], clients: int) -> None:
        self.tally = Tally()
        self._port = port
        self._questions = questions
        self._clients = clients
        self._lock = threading.Lock()
        self.sent = 0
        self._ended = threading.Event()

    @contextmanager
    def running(self, rate: float | None = None) -> Iterator[Tally]:
        """For the length of the block, so many requests a second at the most; None: as many as are answered.

        A client sends nothing while it waits for an answer: `sent` says how many requests there were.
        """
        began, sent_before = time.monotonic(), self.sent
        self._ended.clear()
        threads = [threading.Thread(target=self._client, args=(began, sent_before, rate)) for _ in range(self._clients)]
        for thread in threads:
            thread.start()
        try:
            yield self.tally
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _client(self, began: float, sent_before: int, rate: float | None) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        while not self._ended.is_set():
            with self._lock:
                number, self.sent = self.sent, self.sent + 1
            if rate is not None:
                self._ended.wait(max(0.0, began + (number - sent_before) / rate - time.monotonic()))
            self._ask(connection, self._questions[number % len(self._questions)])
        connection.close()

    def _ask(self, connection: HTTPConnection, question: Question) -> None:
        try:
            status, retry_after, content = _exchange(connection, question)
        except (OSError, HTTPException) as error:
            connection.close()
            with self._lock:
                self.tally.lost.append(f"{question.path}: {error!r}")
            return
        self._count(question, status, retry_after, content)

    def _count(self, question: Question, status: int, retry_after: str | None, content: bytes) -> None:
        with self._lock:
            self.tally.statuses[status] += 1
            if status == HTTPStatus.OK and content == question.answer:
                self.tally.answered.append(time.monotonic())
            elif status == HTTPStatus.OK:
                self.tally.mixed_up.append(question.path)
            elif status not in REFUSALS or retry_after is None:
                self.tally.lost.append(f"{question.path}: {status} {content[:300]!r}")


def ask(port: int, path: str, body: bytes, method: str = "POST") -> tuple[int, bytes]:
    """Status and content of the answer to one request on a connection of its own. Raises OSError or HTTPException."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _exchange(connection: HTTPConnection, question: Question) -> tuple[int, str | None, bytes]:
    """Status, Retry-After and content. Nothing is sent twice: what is lost counts as lost."""
    connection.request("POST", question.path, question.body)
    response = connection.getresponse()
    content = response.read()
    if response.will_close:
        connection.close()
    return response.status, response.getheader("Retry-After"), content
