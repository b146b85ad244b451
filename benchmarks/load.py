"""Load generator: closed-loop HTTP/1.1 clients in a process of their own, which use little processor time.

`python -m benchmarks.load` reads one line of JSON, a Plan, from standard input. When the plan is done, or on SIGTERM,
it writes the answers so far, the elapsed seconds and its processor seconds as JSON. It does not import torch.
"""

import asyncio
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal, NamedTuple, cast

import uvloop
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from benchmarks.errors import BenchmarkError

Kind = Literal["ok", "refused", "expired", "timeout", "failed"]
"""A JPEG with status 200; 503 or 429; 504; no answer within the timeout; anything else."""

JPEG = b"\xff\xd8"
GRACE_SECONDS = 60.0
"""Seconds after the end of a plan and its timeout at which requests still in flight are abandoned."""

NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
"""Final answers that end with their head."""


@dataclass(frozen=True)
class Request:
    """A POST request. `body` is the path of a file; Host and Content-Length are added to `headers`."""

    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What the load generator does: `clients` send the `requests` in turn, repeatedly, one at a time each.

    No request is started after `count` requests or after `seconds`, whichever comes first. Requests in flight are
    then awaited, unless `abort_at_end` is set. After `timeout` seconds without an answer a client closes its
    connection and continues. With `honour_retry_after` it sleeps for the Retry-After of an answer first.
    """

    port: int
    requests: tuple[Request, ...]
    clients: int
    seconds: float
    count: int | None = None
    timeout: float = 120.0
    honour_retry_after: bool = True
    abort_at_end: bool = False


class Answer(NamedTuple):
    """The result of one request. `began` is in seconds after the start of the plan; `status` is 0 without an answer."""

    kind: Kind
    began: float
    seconds: float
    request: int
    status: int


@dataclass(frozen=True)
class Outcome:
    """The results of a plan.

    `elapsed` is in seconds from the start to the last answer, `cpu` in processor seconds of the load generator.
    `others` is the average number of processors that unrelated processes used meanwhile.
    """

    answers: tuple[Answer, ...]
    elapsed: float
    cpu: float
    others: float = 0.0

    def of(self, kind: Kind) -> list[Answer]:
        """All answers of this kind."""
        return [answer for answer in self.answers if answer.kind == kind]

    def seconds(self, kind: Kind = "ok") -> list[float]:
        """The durations of all answers of this kind, in seconds."""
        return [answer.seconds for answer in self.of(kind)]

    @property
    def rate(self) -> float:
        """Answers of kind "ok" per second; 0 if nothing was measured."""
        return len(self.of("ok")) / self.elapsed if self.elapsed else 0.0


def run_plan(plan: Plan) -> Outcome:
    """Execute the plan in another process and wait for it. Raises BenchmarkError if that process fails."""
    with running_plan(plan) as process:
        return wait_for_outcome(process)


@contextmanager
def running_plan(plan: Plan) -> Iterator["subprocess.Popen[str]"]:
    """Execute the plan in another process during the block; the process is killed at its end."""
    command = [sys.executable, "-m", "benchmarks.load"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(plan)) + "\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def wait_for_outcome(process: "subprocess.Popen[str]", *, stop: bool = False) -> Outcome:
    """Wait for the results of a process of `running_plan`; with `stop`, end its plan now.

    Raises BenchmarkError if the process failed.
    """
    if stop:
        process.terminate()
    written, _ = process.communicate()
    if process.returncode:
        raise BenchmarkError(f"the load generator failed with status {process.returncode}")
    found = json.loads(written)
    return Outcome(tuple(Answer(*answer) for answer in found["answers"]), found["elapsed"], found["cpu"])


class Clients:
    """The clients of one plan, and their answers so far."""

    def __init__(self, plan: Plan) -> None:
        self.answers: list[Answer] = []
        self._plan = plan
        self._bodies = [_encode_request(request, plan.port) for request in plan.requests]
        self._started = 0
        self._began = time.monotonic()

    async def run(self) -> None:
        """Run all clients until the plan ends or the task is cancelled."""
        end = self._plan.seconds + (0 if self._plan.abort_at_end else self._plan.timeout + GRACE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(end), asyncio.TaskGroup() as clients:
                for _ in range(self._plan.clients):
                    clients.create_task(self._run_client())

    async def _run_client(self) -> None:
        connection = Connection(self._plan.port)
        try:
            while (number := self._take_request()) is not None:
                wait = await self._send(connection, number)
                if wait and self._plan.honour_retry_after:
                    if self._elapsed() + wait >= self._plan.seconds:  # a timer may fire slightly early
                        return
                    await asyncio.sleep(wait)
        finally:
            connection.close()

    def _take_request(self) -> int | None:
        """The index of the next request in the plan, None at its end."""
        if self._elapsed() >= self._plan.seconds or self._started == self._plan.count:
            return None
        self._started += 1
        return (self._started - 1) % len(self._bodies)

    async def _send(self, connection: "Connection", number: int) -> float:
        """Send one request and record the result. Returns the Retry-After in seconds, 0 without one."""
        began, status, wait = self._elapsed(), 0, 0.0
        kind: Kind
        try:
            status, wait, body = await connection.send(self._bodies[number], self._plan.timeout)
            kind = _classify(status, body)
        except TimeoutError:
            kind = "timeout"
        except (OSError, EOFError, ValueError):
            kind = "failed"
        if kind in ("timeout", "failed"):
            connection.close()
        self.answers.append(Answer(kind, began, self._elapsed() - began, number, status))
        return wait

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


class Connection(asyncio.Protocol):
    """A keep-alive connection for one request at a time. It is opened again if it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()
        self._answer: asyncio.Future[Response] = asyncio.Future()

    async def send(self, message: bytes, seconds: float) -> tuple[int, float, bytes]:
        """Send a request. Returns the status, the Retry-After in seconds (0 without one) and the body of the answer.

        Raises TimeoutError after `seconds`, OSError or EOFError if the connection fails or is closed, and
        ValueError for an answer that is no HTTP or has no length.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            async with asyncio.timeout(seconds):
                await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        if self._transport is None:
            raise ConnectionResetError
        self._reader.start()
        self._answer = loop.create_future()
        timer = loop.call_later(seconds, self._fail, TimeoutError())  # costs less than `asyncio.timeout`
        self._transport.write(message)
        try:
            response = await self._answer
        finally:
            timer.cancel()
        return response.status, response.retry_after, response.body

    def close(self) -> None:
        """Close the connection at once, even during a request."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            return
        try:
            response = self._reader.feed(data)
        except ValueError as error:
            self._fail(error)
            return
        if response is not None:
            if not response.keep_alive:
                self.close()
            self._answer.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(exc or EOFError())

    def _fail(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # marks it as retrieved: there may be no awaiting task


class Response(NamedTuple):
    """An answer. `retry_after` is in seconds, 0 without that field."""

    status: int
    retry_after: float
    body: bytes
    keep_alive: bool


class ResponseReader:
    """Reads one answer at a time from the pieces that arrive. httptools parses them and calls the `on_…` methods."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Discard everything so far; the next piece is the beginning of an answer."""
        self._parser = HttpResponseParser(self)
        self._fields: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._response: Response | None = None

    def feed(self, data: bytes) -> Response | None:
        """Take a piece. Returns the answer as soon as it is complete, and ignores what follows it.

        Raises ValueError for a piece that is no HTTP, an answer without a length, or an invalid Retry-After.
        """
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self._response is None:
                raise ValueError("the answer cannot be read") from error
        return self._response

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        chunked = self._fields.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        if status >= HTTPStatus.OK and status not in NO_BODY and not chunked and b"content-length" not in self._fields:
            raise ValueError("only the end of the connection would end this answer")

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:  # an interim answer, such as 103: the final one follows
            self._fields.clear()
        elif self._response is None:
            retry_after = float(self._fields.get(b"retry-after", 0))
            body = b"".join(self._pieces)
            self._response = Response(status, retry_after, body, self._parser.should_keep_alive())


def _classify(status: int, body: bytes) -> Kind:
    if status == 200 and body.startswith(JPEG):
        return "ok"
    kinds: dict[int, Kind] = {503: "refused", 429: "refused", 504: "expired"}
    return kinds.get(status, "failed")


def _encode_request(request: Request, port: int) -> bytes:
    body = Path(request.body).read_bytes()
    fields = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body)), **request.headers}
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _parse_plan(text: str) -> Plan:
    fields = json.loads(text)
    return Plan(**fields | {"requests": tuple(Request(**request) for request in fields["requests"])})


async def _execute(plan: Plan) -> Sequence[Answer]:
    clients = Clients(plan)
    running = asyncio.create_task(clients.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running
    return clients.answers


def main() -> None:
    """Execute the plan from standard input; see the module."""
    plan = _parse_plan(sys.stdin.readline())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(_execute(plan))
    used = resource.getrusage(resource.RUSAGE_SELF)
    elapsed = max((answer.began + answer.seconds for answer in answers), default=0.0)
    json.dump({"answers": answers, "elapsed": elapsed, "cpu": used.ru_utime + used.ru_stime}, sys.stdout)


if __name__ == "__main__":
    main()
