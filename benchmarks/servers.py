"""The measured servers, as child processes that are suspended while others are measured."""

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
from psutil import Process

from benchmarks import machine, processes
from benchmarks.errors import BenchmarkError
from benchmarks.load import Request
from benchmarks.networks import STYLE_NAME
from benchmarks.processes import Memory

BOUNDARY = "pastiche-benchmark"

NATIVE = "?size=native"
"""The other servers paint photographs at their own size."""

START_SECONDS = 120.0
STOP_SECONDS = 20.0
END_SECONDS = 10.0
"""In which a process has ended whose connections were lost by that."""

TIMEOUT_HEADER = "X-Request-Timeout"
LONG_TIMEOUT = {TIMEOUT_HEADER: "600"}
"""Header fields for measurements in which no request may expire."""


@dataclass(frozen=True)
class ServerSpec:
    """How a server is started, and where it takes requests.

    `{port}` in `command` becomes its port. `ready` is the path that answers 200 once the server is ready, `path` takes
    the photos: as the raw body, or with `form` as a file in a form. With `allocator` its environment has the allocator
    settings that the service gives itself; `settings` are further environment variables. `needs` is the distribution
    without which the server cannot run.
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
        """A message if `needs` is not installed, else None."""
        if not self.needs or machine.installed(self.needs):
            return None
        return f"{self.name} is skipped: {self.needs} is not installed (pip install '.[benchmarks]')"


def ours(store: Path) -> ServerSpec:
    """Pastiche with this store, and the settings of the environment, which the result records, or by default."""
    # All clients send the same few photos. The other servers compute each request, so this one must not share results.
    settings = {"PASTICHE_STORES": str(store), "PASTICHE_LOG_LEVEL": "warning", "PASTICHE_COALESCE": "false"}
    command = (sys.executable, "-m", "service", "--port", "{port}")
    return ServerSpec("pastiche", command, "/readyz", f"/v1/stylize/{STYLE_NAME}{NATIVE}", settings=settings)


def ours_in(processes: int, store: Path) -> ServerSpec:
    """Pastiche as `ours`, in so many serving processes."""
    spec = ours(store)
    settings = {**spec.settings, "PASTICHE_PROCESSES": str(processes)}
    return replace(spec, name=f"pastiche×{processes}", settings=settings)


def naive(store: Path) -> ServerSpec:
    """A plain FastAPI service; see benchmarks.peers.naive."""
    command = (sys.executable, "-m", "benchmarks.peers.naive", str(store), "{port}")
    return ServerSpec("naive", command, "/health", f"/stylize/{STYLE_NAME}", form=True)


def litserve(store: Path, *, allocator: bool = False) -> ServerSpec:
    """LitServe with our fast network; see benchmarks.peers.litserve."""
    command = (sys.executable, "-m", "benchmarks.peers.litserve", str(store), STYLE_NAME, "{port}")
    name = "litserve-allocator" if allocator else "litserve"
    return ServerSpec(name, command, "/health", "/predict", form=True, allocator=allocator, needs="litserve")


SERVER_SPECS: dict[str, Callable[[Path], ServerSpec]] = {
    "pastiche": ours,
    "naive": naive,
    "litserve": litserve,
    "litserve-allocator": partial(litserve, allocator=True),
}
"""Functions that make the spec of each server for a store, by name."""


def request(spec: ServerSpec, photo: bytes, folder: Path, headers: Mapping[str, str] = LONG_TIMEOUT) -> Request:
    """A request with the photo in the form that this server takes. Its body is written to a new file in `folder`."""
    content = _form(photo) if spec.form else photo
    kind = f"multipart/form-data; boundary={BOUNDARY}" if spec.form else "image/jpeg"
    body = folder / f"{spec.name}-{len(list(folder.iterdir()))}"
    body.write_bytes(content)
    return Request(spec.path, str(body), {"Content-Type": kind, **headers})


class Server:
    """A server process. Make it with `running`, which stops it."""

    def __init__(self, spec: ServerSpec, log: Path, port: int) -> None:
        self.spec = spec
        self.port = port
        self._log = log
        command = [part.replace("{port}", str(self.port)) for part in spec.command]
        environment = machine.environment(spec.allocator) | {**spec.settings}
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        with suppress(OSError):  # if memory runs out, the kernel ends this process first
            Path(f"/proc/{self._process.pid}/oom_score_adj").write_text("1000")

    @property
    def pid(self) -> int:
        """The id of the process, whose children also belong to the server."""
        return self._process.pid

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait for status 200. Raises BenchmarkError with the end of the log if the server ends or the seconds pass."""
        end = time.monotonic() + seconds
        while self._status() != 200:
            if self._process.poll() is not None or time.monotonic() > end:
                raise BenchmarkError(f"{self.spec.name} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def check_running(self, consequence: BaseException | None = None) -> None:
        """Raise BenchmarkError with the end of the log if it has ended, from what has come of that.

        A process whose connections are gone may still have to end: where there is a consequence, it is waited for.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if consequence is None else END_SECONDS)
        if (status := self._process.returncode) is not None:
            log = self._log.read_text()[-2000:]
            raise BenchmarkError(f"{self.spec.name} has ended, with status {status}:\n{log}") from consequence

    def get(self, path: str) -> tuple[int, str]:
        """The status and the text of the answer to a GET. Raises OSError or HTTPException if there is none."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name: str, label: str = "") -> float | None:
        """The sum of a Prometheus metric, or of its samples with `label`, such as `stage="read"`; None without any."""
        status, text = self.get("/metrics")
        labels = rf"{{[^}}]*{re.escape(label)}[^}}]*}}" if label else r"(?:{[^}]*})?"
        values = re.findall(rf"^{re.escape(name)}{labels} (\S+)", text, re.MULTILINE)
        return sum(map(float, values)) if status == 200 and values else None

    def post(self, sent: Request) -> bytes:
        """The body of the answer to a request, within 600 s. Raises BenchmarkError if its status is not 200."""
        return post(self.port, sent, self.spec.name)

    def memory(self) -> Memory:
        """The memory of the server and its descendants."""
        return Memory.of(processes.process_tree(self._process.pid))

    def main_memory(self) -> Memory:
        """The memory of the server's own process, without its descendants."""
        return Memory.of(processes.process_tree(self._process.pid)[:1])

    def cpu_seconds(self) -> float:
        """Processor seconds of the server and its descendants since they started."""
        return processes.cpu_seconds(self._process.pid)

    def suspend(self) -> None:
        """Suspend all its processes, so that it uses no processor time."""
        self._each(Process.suspend)

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Resume a suspended server for the duration of the block."""
        self._each(Process.resume)
        try:
            yield
        finally:
            self.suspend()

    def stop(self) -> None:
        """Terminate the server, wait up to STOP_SECONDS for its end, and kill those of its processes that are left."""
        process_tree = processes.process_tree(self._process.pid)
        _apply(Process.resume, process_tree)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        _apply(Process.kill, process_tree)
        self._process.wait()

    def drain(self) -> int:
        """Ask the server to end, and wait for its exit status. Raises TimeoutExpired after START_SECONDS."""
        self._process.terminate()
        return self._process.wait(START_SECONDS)

    def _status(self) -> int:
        try:
            return self.get(self.spec.ready)[0]
        except (OSError, HTTPException):
            return 0

    def _each(self, action: Callable[[Process], None]) -> None:
        _apply(action, processes.process_tree(self._process.pid))


@contextmanager
def running(spec: ServerSpec, start_seconds: float = START_SECONDS) -> Iterator[Server]:
    """Start a server and wait until it is ready, for so long. It is stopped at the end of the block.

    Raises BenchmarkError if it does not start, or has ended by itself before the end of the block.
    """
    with tempfile.TemporaryDirectory() as folder, reserved_port() as port:
        server = Server(spec, Path(folder) / "log", port)
        try:
            server.wait_until_ready(start_seconds)
            with _kept_running(server):
                yield server
        finally:
            server.stop()


@contextmanager
def _kept_running(server: Server) -> Iterator[None]:
    """Raise BenchmarkError if the server has ended during the block, in the place of what has come of that."""
    try:
        yield
    except (OSError, HTTPException, RuntimeError) as error:
        server.check_running(error)
        raise
    server.check_running()


@contextmanager
def all_running(specs: Sequence[ServerSpec]) -> Iterator[dict[str, Server]]:
    """Start all servers whose packages are installed, suspended, by name. A printed line tells which are skipped."""
    with ExitStack() as stack:
        servers = {}
        for spec in specs:
            if spec.missing:
                print(spec.missing, flush=True)
                continue
            servers[spec.name] = stack.enter_context(running(spec))
            servers[spec.name].suspend()
        yield servers


def post(port: int, sent: Request, server: str) -> bytes:
    """The body of the answer of the server there, within 600 s. Raises BenchmarkError if its status is not 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", sent.path, Path(sent.body).read_bytes(), sent.headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchmarkError(f"{server} answered {answer.status}: {content[:500].decode(errors='replace')}")
    return content


def _apply(action: Callable[[Process], None], members: Iterable[Process]) -> None:
    """Call `action` on each process that still exists."""
    for member in members:
        with suppress(psutil.NoSuchProcess):
            action(member)


def free_port() -> int:
    """A port of this machine on which nobody listens now; another process may take it at any time."""
    with reserved_port() as port:
        return port


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of this machine that the system gives nobody else for the length of the block.

    A server that sets SO_REUSEADDR may listen on it; until it does, connections are refused.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def _form(photo: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request"; filename="photo.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
