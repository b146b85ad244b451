import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.__main__ import main as pastiche_serve
from service.app import build_service
from service.http.uvicorn_server import build_server
from service.server import serve, until_end
from service.stop_signals import stop_signals
from tests.networks import network
from tests.processes import Command, command
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, pixels, publish, settings, wait_for, worker_launcher

ROOT = Path(__file__).parents[2]
LARGE = file(photo(height=1500, width=2000), compress_level=1)
"""Takes the narrow network long enough that a signal arrives meanwhile."""


@dataclass(frozen=True)
class Process:
    """`pastiche-serve` in a process of its own."""

    handle: Command
    client: httpx.Client

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name}(?:{{.*}})? (.*)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def exit_status(self) -> int:
        return self.handle.wait()


@contextmanager
def process(root: Path, *options: str) -> Iterator[Process]:
    arguments = ["--stores", str(root), "--port", "0", "--device", "cpu", "--precision", "fp32", "--threads", "1"]
    arguments += ["--jobs-folder", str(root.parent / f"{root.name}-jobs")]
    with command(pastiche_serve, *arguments, *options) as handle:
        lines = iter(handle.stderr.readline, "")
        url = next(found[1] for line in lines if (found := re.search(r"running on (http://\S+)", line)))
        reading = threading.Thread(target=handle.stderr.read)  # a service whose log nobody reads stands still
        reading.start()
        with httpx.Client(base_url=url, timeout=PATIENCE, verify=False) as client:
            wait_for(lambda: client.get("/readyz").status_code, lambda status: status == 200)
            yield Process(handle, client)
        handle.process.kill()
        reading.join()


def stylize(served: Process, content: bytes, prefer: str = "") -> httpx.Response:
    path = "/v1/stylize/wave?format=png&size=native"
    return served.client.post(path, content=content, headers={"Prefer": prefer})


@contextmanager
def stopping(
    root: Path, *options: str, prefer: str = "", number: int = signal.SIGTERM
) -> Iterator[tuple[Process, Future[httpx.Response]]]:
    """A service that was told to stop while it paints a large photograph, and the answer to that."""
    publish(root, built=network())
    patient = ["--drain-seconds", "3600", "--request-timeout", "600"]  # on a busy machine the photograph takes long
    with process(root, *patient, *options) as served, ThreadPoolExecutor(1) as clients:
        in_flight = clients.submit(stylize, served, LARGE, prefer)
        wait_for(lambda: served.metric("pastiche_batch_size_count"), lambda count: count >= 1)
        served.handle.send_signal(number)
        yield served, in_flight


def test_sigterm_lets_the_request_in_flight_finish_and_refuses_others(tmp_path: Path) -> None:
    with stopping(tmp_path) as (served, in_flight):
        wait_for(lambda: served.client.get("/readyz").status_code, lambda status: status == 503)
        assert served.client.get("/livez").status_code == 200
        refused = stylize(served, file(photo()))
        assert not in_flight.done()
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/draining")
        assert refused.headers["Connection"] == "close"
        assert "Retry-After" in refused.headers
        answer = in_flight.result()
        assert answer.status_code == 200
        assert pixels(answer.content).shape == (1500, 2000, 3)
        assert served.exit_status() == 0


def test_terminal_that_is_closed_stops_as_sigterm_does(tmp_path: Path) -> None:
    with stopping(tmp_path, number=signal.SIGHUP) as (served, in_flight):
        wait_for(lambda: served.client.get("/readyz").status_code, lambda status: status == 503)
        served.handle.send_signal(signal.SIGHUP)
        assert in_flight.result().status_code == 200
        assert served.exit_status() == 0


def test_request_that_outlasts_the_drain_is_told_so(tmp_path: Path) -> None:
    with stopping(tmp_path, "--drain-seconds", "0") as (served, in_flight):
        answer = in_flight.result()
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/draining")
        assert served.exit_status() == 0


@pytest.mark.parametrize(("seconds", "status"), [("0", 202), ("3600", 200)])
def test_client_that_waits_for_a_job_learns_where_it_is_where_that_outlasts_the_drain(
    tmp_path: Path, seconds: str, status: int
) -> None:
    with stopping(tmp_path, "--drain-seconds", seconds, prefer="respond-async, wait=600") as (served, in_flight):
        answer = in_flight.result()
        assert (answer.status_code, "Location" in answer.headers) == (status, status == 202)
        assert served.exit_status() == 0


def test_upload_that_outlasts_the_drain_is_told_so(tmp_path: Path) -> None:
    publish(tmp_path)
    with process(tmp_path, "--drain-seconds", "0") as served:
        url = served.client.base_url
        with socket.create_connection((url.host, url.port or 0)) as client:
            client.sendall(b"POST /v1/stylize/wave HTTP/1.1\r\nHost: here\r\nContent-Length: 99\r\n\r\nbegin")
            wait_for(lambda: served.metric("pastiche_body_bytes"), lambda held: held == 99)
            served.handle.send_signal(signal.SIGTERM)
            answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"/problems/draining"' in answer
        assert served.exit_status() == 0


def test_log_says_what_is_no_setting_and_where_the_service_is_when_it_is_ready(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    options = ["--stores", str(tmp_path / "models"), "--jobs-folder", str(tmp_path / "jobs"), "--device", "cpu"]
    command = [sys.executable, "-m", "service", "--port", "0", "--threads", "1", *options]
    misspelt = os.environ | {"PASTICHE_LOG_FROMAT": "json"}
    with subprocess.Popen(command, cwd=ROOT, env=misspelt, stderr=subprocess.PIPE, text=True) as handle:
        try:
            assert handle.stderr is not None
            lines = iter(handle.stderr.readline, "")
            warning = "PASTICHE_LOG_FROMAT in the environment is no setting; did you mean PASTICHE_LOG_FORMAT?"
            assert warning in next(lines)
            url = next(
                found[1] for line in lines if (found := re.search(r"ready: open (http://\S+) in a browser", line))
            )
            assert httpx.get(f"{url}readyz", timeout=PATIENCE).status_code == 200
        finally:
            handle.kill()


def test_store_that_does_not_answer_does_not_hold_the_end(tmp_path: Path) -> None:
    """It is asked once more after the deadline of the first question: by then the service has ended."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stores = f"{tmp_path / 'models'}:http://127.0.0.1:{silent.getsockname()[1]}/models"
        folders = ["--jobs-folder", str(tmp_path / "jobs"), "--store-cache-folder", str(tmp_path / "cache")]
        with command(pastiche_serve, "--stores", stores, "--port", "0", "--device", "cpu", *folders) as handle:
            asked, _ = silent.accept()
            handle.send_signal(signal.SIGTERM)
            assert handle.wait() == 0
            silent.setblocking(False)
            with asked, pytest.raises(BlockingIOError):
                silent.accept()


def test_second_signal_kills(tmp_path: Path) -> None:
    with stopping(tmp_path, "--drain-seconds", "3600") as (served, in_flight):
        wait_for(lambda: served.client.get("/readyz").status_code, lambda status: status == 503)
        assert not in_flight.done()
        served.handle.send_signal(signal.SIGTERM)
        assert served.exit_status() == 128 + signal.SIGTERM
        assert isinstance(in_flight.exception(), httpx.TransportError)


def test_idle_service_ends_at_once_with_connections_open(tmp_path: Path) -> None:
    publish(tmp_path)
    with process(tmp_path, "--drain-seconds", "3600") as served:
        served.handle.send_signal(signal.SIGTERM)
        assert served.exit_status() == 0


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextmanager
def connected(served: Process) -> Iterator[httpx.Client]:
    """A client whose connection is open, and stays open while the service cannot accept another."""
    limits = httpx.Limits(keepalive_expiry=None)
    with httpx.Client(base_url=served.client.base_url, timeout=PATIENCE, limits=limits, verify=False) as client:
        assert client.get("/livez").status_code == 200
        yield client


def test_service_without_descriptors_answers_and_recovers(tmp_path: Path) -> None:
    publish(tmp_path)
    with process(tmp_path, "--max-connections", "1000") as served, ExitStack() as others:
        # One for each request: after an answer for want of descriptors the service closes the connection.
        clients = {kind: others.enter_context(connected(served)) for kind in ("JPEG", "PNG", "WEBP")}
        pid, address = served.handle.pid, (served.client.base_url.host, served.client.base_url.port)
        left = descriptors(pid) + 5
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (left, before[1]))
        for _ in range(50):  # more than can be accepted
            others.enter_context(socket.create_connection(address, timeout=PATIENCE))
        wait_for(lambda: descriptors(pid), lambda count: count >= left)
        for kind, client in clients.items():
            answer = client.post("/v1/stylize/wave", content=file(photo(), kind))
            assert answer.status_code in (200, 503), answer.text
            assert answer.status_code == 200 or "Retry-After" in answer.headers
        others.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        with httpx.Client(base_url=served.client.base_url, timeout=PATIENCE, verify=False) as later:
            assert later.post("/v1/stylize/wave", content=file(photo())).status_code == 200
        assert served.handle.poll() is None


def test_port_in_use_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = settings(tmp_path, port=taken.getsockname()[1])
        service = build_service(chosen, launcher=worker_launcher())
        assert asyncio.run(serve(service, build_server(service.app, chosen, service.metrics))) == 1
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "address already in use" in errors[0].getMessage()


@pytest.fixture
def signals() -> Iterator[None]:
    """Those of the test's process as they were."""
    before = {number: signal.getsignal(number) for number in stop_signals()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("number", stop_signals())
def test_signal_is_a_reason_to_end_well(tmp_path: Path, number: int) -> None:
    lifespan = build_service(settings(tmp_path), launcher=worker_launcher()).lifespan

    async def run() -> int:
        waiting = asyncio.create_task(until_end(lifespan, lambda: None))
        await asyncio.sleep(0)
        os.kill(os.getpid(), number)
        return await waiting

    assert asyncio.run(run()) == 0


def test_broken_service_is_a_reason_to_end_badly(tmp_path: Path) -> None:
    lifespan = build_service(settings(tmp_path), launcher=worker_launcher()).lifespan
    lifespan.broken.set()
    assert asyncio.run(until_end(lifespan, lambda: None)) == 1


def test_what_is_imported_is_left_out_of_collections(tmp_path: Path) -> None:
    (tmp_path / "no.pem").touch()
    code = (
        "import gc, sys; from service.server import run; from service.settings import Settings;"
        "status = run(Settings(tls_certificate=sys.argv[1], stores=sys.argv[2]));"
        "print(status, gc.get_freeze_count() > 50_000, gc.isenabled())"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "no.pem"), str(tmp_path)]
    ended = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE)
    assert (ended.stdout, "no.pem" in ended.stderr) == ("2 True True\n", True)
