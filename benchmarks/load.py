"""The load: closed-loop HTTP/1.1 clients in a process of their own, light enough to share two cores with a server.

`python -m benchmarks.load` reads a Plan as JSON from standard input and writes its Answers when the plan is done, or
when it is told to stop by SIGTERM. It imports no torch.
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

Kind = Literal["ok", "refused", "expired", "timeout", "failed"]
"""A picture; 503 or 429; 504; the client left after its timeout; anything else."""

JPEG = b"\xff\xd8"
PATIENCE = 60.0
"""Seconds that the requests in flight get at the end of a plan that has no timeout, beyond its own time."""


@dataclass(frozen=True)
class Request:
    """A POST: the lines of its head but the first, Host and Content-Length, and the file that is its body."""

    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """`clients` closed loops that take the `requests` in turn, again and again, each with one request in flight.

    It ends after `count` requests or after `seconds`, whichever comes first; what is in flight then is still awaited
    (`cut`: it is not). After `timeout` seconds a client closes its connection and goes on. After a refusal it waits for
    Retry-After, if it honours that, and then goes on.
    """

    port: int
    requests: tuple[Request, ...]
    clients: int
    seconds: float
    count: int | None = None
    timeout: float = 120.0
    honour_retry_after: bool = True
    cut: bool = False


class Answer(NamedTuple):
    """One attempt: when it began after the start of the plan, and how long it took, in seconds."""

    kind: Kind
    began: float
    seconds: float
    request: int
    status: int


@dataclass(frozen=True)
class Outcome:
    """What a plan led to, in seconds: `elapsed` until the last answer, `cpu` computed by the clients themselves.

    `others` are the processors that processes used meanwhile which have nothing to do with it.
    """

    answers: tuple[Answer, ...]
    elapsed: float
    cpu: float
    others: float = 0.0

    def of(self, kind: Kind) -> list[Answer]:
        """The answers of a kind."""
        return [answer for answer in self.answers if answer.kind == kind]

    def seconds(self, kind: Kind = "ok") -> list[float]:
        """How long the answers of a kind took."""
        return [answer.seconds for answer in self.of(kind)]

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return len(self.of("ok")) / self.elapsed if self.elapsed else 0.0


def drive(plan: Plan) -> Outcome:
    """Carry the plan out in another process. Raises RuntimeError where that fails."""
    with driving(plan) as process:
        return outcome(process)


@contextmanager
def driving(plan: Plan) -> Iterator["subprocess.Popen[str]"]:
    """A plan that is being carried out for the length of the block, at whose end its process ends."""
    command = [sys.executable, "-m", "benchmarks.load"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(plan)) + "\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def outcome(process: "subprocess.Popen[str]", *, stop: bool = False) -> Outcome:
    """What the process found, when its plan is done or, to `stop` it, now."""
    if stop:
        process.terminate()
    written, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator failed with status {process.returncode}")
    found = json.loads(written)
    return Outcome(tuple(Answer(*answer) for answer in found["answers"]), found["elapsed"], found["cpu"])


class Clients:
    """The closed loops of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.answers: list[Answer] = []
        self._plan = plan
        self._bodies = [_message(request, plan.port) for request in plan.requests]
        self._taken = 0
        self._began = time.monotonic()

    async def run(self) -> None:
        """Until the plan ends, or the task is cancelled."""
        end = self._plan.seconds + (0 if self._plan.cut else self._plan.timeout + PATIENCE)
        with suppress(TimeoutError):
            async with asyncio.timeout(end), asyncio.TaskGroup() as clients:
                for _ in range(self._plan.clients):
                    clients.create_task(self._loop())

    async def _loop(self) -> None:
        connection = Connection(self._plan.port)
        try:
            while (number := self._next()) is not None:
                wait = await self._attempt(connection, number)
                if wait and self._plan.honour_retry_after:
                    if self._now() + wait >= self._plan.seconds:  # a timer may ring a little before its time
                        return
                    await asyncio.sleep(wait)
        finally:
            connection.close()

    def _next(self) -> int | None:
        """The number of the next request, None at the end of the plan."""
        if self._now() >= self._plan.seconds or self._taken == self._plan.count:
            return None
        self._taken += 1
        return (self._taken - 1) % len(self._bodies)

    async def _attempt(self, connection: "Connection", number: int) -> float:
        """Send one request and note what came of it; the seconds of its Retry-After, 0 without one."""
        began, status, wait = self._now(), 0, 0.0
        kind: Kind
        try:
            status, wait, body = await connection.send(self._bodies[number], self._plan.timeout)
            kind = _kind(status, body)
        except TimeoutError:
            kind = "timeout"
        except (OSError, EOFError, LookupError, ValueError):
            kind = "failed"
        if kind in ("timeout", "failed"):
            connection.close()
        self.answers.append(Answer(kind, began, self._now() - began, number, status))
        return wait

    def _now(self) -> float:
        return time.monotonic() - self._began


class Connection(asyncio.Protocol):
    """A connection that is kept, and opened again where it was closed. One request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._head: Head | None = None
        self._answer: asyncio.Future[tuple[int, float, bytes]] = asyncio.Future()

    async def send(self, message: bytes, patience: float) -> tuple[int, float, bytes]:
        """The status, the seconds of Retry-After (0 without it) and the body of the answer.

        Raises TimeoutError after so many seconds (by one timer, which costs less than `asyncio.timeout`).
        """
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            async with asyncio.timeout(patience):
                await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        if self._transport is None:
            raise ConnectionResetError
        self._received.clear()
        self._head, self._answer = None, loop.create_future()
        timer = loop.call_later(patience, self._fail, TimeoutError())
        self._transport.write(message)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A part of the answer."""
        self._received += data
        try:
            self._read()
        except (LookupError, ValueError) as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by this side or by the other."""
        self._transport = None
        self._fail(exc or EOFError())

    def _read(self) -> None:
        while self._head is None and (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = Head.of(bytes(self._received[:end]))
            del self._received[: end + 4]
            self._head = head if head.status >= HTTPStatus.OK else None  # else the answer itself is still to come
        if self._head is None or len(self._received) < self._head.length or self._answer.done():
            return
        if self._head.closes:
            self.close()
        body = bytes(self._received[: self._head.length])
        self._answer.set_result((self._head.status, self._head.retry_after, body))

    def _fail(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # nobody may wait for it


class Head(NamedTuple):
    """What is read of the head of an answer. Raises LookupError or ValueError where it is none."""

    status: int
    length: int
    retry_after: float
    closes: bool

    @classmethod
    def of(cls, text: bytes) -> "Head":
        """The status line and the fields."""
        first, *lines = text.lower().split(b"\r\n")
        fields = {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        status = int(first.split()[1])
        length = int(fields[b"content-length"]) if status >= HTTPStatus.OK else 0
        return cls(status, length, float(fields.get(b"retry-after", 0)), fields.get(b"connection") == b"close")


def _kind(status: int, body: bytes) -> Kind:
    if status == 200 and body.startswith(JPEG):
        return "ok"
    kinds: dict[int, Kind] = {503: "refused", 429: "refused", 504: "expired"}
    return kinds.get(status, "failed")


def _message(request: Request, port: int) -> bytes:
    body = Path(request.body).read_bytes()
    fields = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body)), **request.headers}
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _parsed(text: str) -> Plan:
    fields = json.loads(text)
    return Plan(**fields | {"requests": tuple(Request(**request) for request in fields["requests"])})


async def _carry_out(plan: Plan) -> Sequence[Answer]:
    clients = Clients(plan)
    running = asyncio.create_task(clients.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running
    return clients.answers


def main() -> None:
    """Carry out the plan on standard input."""
    plan = _parsed(sys.stdin.readline())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(_carry_out(plan))
    used = resource.getrusage(resource.RUSAGE_SELF)
    elapsed = max((answer.began + answer.seconds for answer in answers), default=0.0)
    json.dump({"answers": answers, "elapsed": elapsed, "cpu": used.ru_utime + used.ru_stime}, sys.stdout)


if __name__ == "__main__":
    main()
