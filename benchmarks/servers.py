"""The servers that are measured, as processes: started, frozen while it is another's turn, and always stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks import machine, processes
from benchmarks.load import Request
from benchmarks.networks import STYLE_NAME
from benchmarks.processes import Memory

BOUNDARY = "pastiche-benchmark"

START_SECONDS = 120.0
STOP_SECONDS = 20.0

DEADLINE = "X-Request-Timeout"
PATIENT = {DEADLINE: "600"}
"""For measurements in which no request shall fail for being late."""


@dataclass(frozen=True)
class Recipe:
    """How a server is started and asked.

    `{port}` in the command is its port. `allocator` is whether its environment has the allocator settings that our
    service gives itself; `settings` are further variables of its environment.
    """

    name: str
    command: tuple[str, ...]
    ready: str
    path: str
    form: bool = False
    allocator: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""

    @property
    def missing(self) -> str | None:
        """What to say where a package that it needs is not installed."""
        if not self.needs or machine.installed(self.needs):
            return None
        return f"{self.name} is skipped: {self.needs} is not installed (pip install '.[benchmarks]')"


def ours(store: Path) -> Recipe:
    """Pastiche with its default settings and this store."""
    # Several clients send the same few photos: no server may compute one for another, as none of the others does.
    settings = {"PASTICHE_STORES": str(store), "PASTICHE_LOG_LEVEL": "warning", "PASTICHE_COALESCE": "false"}
    command = (sys.executable, "-m", "service", "--port", "{port}")
    return Recipe("pastiche", command, "/readyz", f"/v1/stylize/{STYLE_NAME}", settings=settings)


def naive(store: Path) -> Recipe:
    """What everyone writes; see benchmarks.peers.naive."""
    command = (sys.executable, "-m", "benchmarks.peers.naive", str(store), "{port}")
    return Recipe("naive", command, "/health", f"/stylize/{STYLE_NAME}", form=True)


def litserve(store: Path, *, allocator: bool = False) -> Recipe:
    """LitServe with our fast network inside, `allocator` settings or not; see benchmarks.peers.litserve."""
    command = (sys.executable, "-m", "benchmarks.peers.litserve", str(store), STYLE_NAME, "{port}")
    name = "litserve-allocator" if allocator else "litserve"
    return Recipe(name, command, "/health", "/predict", form=True, allocator=allocator, needs="litserve")


CHOICES: dict[str, Callable[[Path], Recipe]] = {
    "pastiche": ours,
    "naive": naive,
    "litserve": litserve,
    "litserve-allocator": partial(litserve, allocator=True),
}
"""Every server, made for a store."""


def request(recipe: Recipe, photo: bytes, folder: Path, headers: Mapping[str, str] = PATIENT) -> Request:
    """A photo as that server wants it: the raw file, or a form with the file in it. The body is kept in `folder`."""
    content = _form(photo) if recipe.form else photo
    kind = f"multipart/form-data; boundary={BOUNDARY}" if recipe.form else "image/jpeg"
    body = folder / f"{recipe.name}-{len(list(folder.iterdir()))}"
    body.write_bytes(content)
    return Request(recipe.path, str(body), {"Content-Type": kind, **headers})


class Server:
    """A running server. Use `running`, which stops it."""

    def __init__(self, recipe: Recipe, log: Path) -> None:
        self.recipe = recipe
        self.port = _free_port()
        self._log = log
        command = [part.format(port=self.port) for part in recipe.command]
        environment = machine.environment(recipe.allocator) | {**recipe.settings}
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        with suppress(OSError):  # where memory runs out, it goes first
            Path(f"/proc/{self._process.pid}/oom_score_adj").write_text("1000")

    def wait_until_ready(self) -> None:
        """Until it says so itself. Raises RuntimeError, with the end of its log, where it does not."""
        end = time.monotonic() + START_SECONDS
        while self._status() != 200:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.recipe.name} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def get(self, path: str) -> tuple[int, str]:
        """The status and the text of an answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name: str, label: str = "") -> float | None:
        """The sum of a Prometheus series over its labels, or over those with this one; None where there is none."""
        status, text = self.get("/metrics")
        labels = rf"{{[^}}]*{re.escape(label)}[^}}]*}}" if label else r"(?:{[^}]*})?"
        values = re.findall(rf"^{re.escape(name)}{labels} (\S+)", text, re.MULTILINE)
        return sum(map(float, values)) if status == 200 and values else None

    def post(self, sent: Request) -> bytes:
        """The answer to a request, in no hurry. Raises RuntimeError where it is no success."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request("POST", sent.path, Path(sent.body).read_bytes(), sent.headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.recipe.name} answered {answer.status}: {content[:500].decode(errors='replace')}")
        return content

    def memory(self) -> Memory:
        """Of the server and every process that it started."""
        return Memory.of(processes.family(self._process.pid))

    def cpu_seconds(self) -> float:
        """What the server and its processes have computed since they began."""
        return processes.cpu_seconds(self._process.pid)

    def freeze(self) -> None:
        """Stop all its processes where they are, so that it takes nothing from another's measurement."""
        self._signal(processes.family(self._process.pid), signal.SIGSTOP)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let a frozen server go on for the length of the block."""
        self._signal(processes.family(self._process.pid), signal.SIGCONT)
        try:
            yield
        finally:
            self.freeze()

    def stop(self) -> None:
        """Ask it to end, and kill what has not ended in time."""
        family = processes.family(self._process.pid)
        self._signal(family, signal.SIGCONT)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._signal([pid for pid in family if processes.parent(pid) is not None], signal.SIGKILL)
        self._process.wait()

    def _status(self) -> int:
        try:
            return self.get(self.recipe.ready)[0]
        except (OSError, HTTPException):
            return 0

    @staticmethod
    def _signal(pids: Sequence[int], number: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def running(recipe: Recipe) -> Iterator[Server]:
    """A server that is ready at the beginning of the block and stopped at its end, however it ends."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(recipe, Path(folder) / "log")
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()


@contextmanager
def all_running(recipes: Sequence[Recipe]) -> Iterator[dict[str, Server]]:
    """The servers that can be had here, frozen, by name; a line says which cannot."""
    with ExitStack() as stack:
        servers = {}
        for recipe in recipes:
            if recipe.missing:
                print(recipe.missing, flush=True)
                continue
            servers[recipe.name] = stack.enter_context(running(recipe))
            servers[recipe.name].freeze()
        yield servers


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _form(photo: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request"; filename="photo.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
