"""Several processes that serve one port: real ones, and small programs in their place where only their ends matter."""

import asyncio
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from service import supervisor
from service.__main__ import main as pastiche_serve
from service.membership import Membership
from service.supervisor import Supervisor, supervise
from tests.processes import Command, command
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, pixels, publish, settings, wait_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Processes:
    """`pastiche-serve --processes 2`."""

    handle: Command
    url: str

    def client(self) -> httpx.Client:
        """A client that opens a connection for each request, so that any process may answer."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(base_url=self.url, timeout=PATIENCE, limits=limits, verify=False)

    def pids(self) -> set[int]:
        """The process ids of the serving processes."""
        return {child.pid for child in psutil.Process(self.handle.pid).children()}

    def seen(self) -> set[str]:
        """The numbers of those whose metrics are there; none where nobody answers."""
        with self.client() as client, suppress(httpx.TransportError):
            return set(
                re.findall(r'^pastiche_codec_workers\{process="(\d)"', client.get("/metrics").text, re.MULTILINE)
            )
        return set()


@contextmanager
def processes(root: Path, *options: str) -> Iterator[Processes]:
    publish(root / "models")
    arguments = ["--stores", str(root / "models"), "--port", "0", "--processes", "2", "--device", "cpu"]
    with command(pastiche_serve, *arguments, *options) as handle:
        lines = iter(handle.stderr.readline, "")
        address = next(found[1] for line in lines if (found := re.search(r"2 processes serve (\S+)", line)))
        reading = threading.Thread(target=handle.stderr.read)
        reading.start()
        served = Processes(handle, f"http://{address}")
        wait_for(served.seen, lambda seen: len(seen) == 2)
        children = served.pids()
        try:
            yield served
        finally:
            children |= served.pids() if handle.poll() is None else set()
            handle.process.kill()
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            reading.join()


def exists(pid: int) -> bool:
    """Whether the process runs: one that is dead and not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stylized(served: Processes) -> tuple[int, ...]:
    with served.client() as client:
        answer = client.post("/v1/stylize/wave?format=png&size=native", content=file(photo()))
    answer.raise_for_status()
    return pixels(answer.content).shape


def test_processes_serve_one_port_and_replace_one_that_ends(tmp_path: Path) -> None:
    with processes(tmp_path) as served:
        with ThreadPoolExecutor(8) as clients:
            assert set(clients.map(lambda _: stylized(served), range(16))) == {photo().shape}
        with served.client() as client:
            assert client.get("/readyz").status_code == 200
            assert client.put("/v1/jobs/mine?style=wave", content=file(photo())).status_code == 501
        first = served.pids()
        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        wait_for(served.pids, lambda pids: killed not in pids)
        assert stylized(served) == photo().shape  # by the other one
        wait_for(lambda: (len(served.seen()), len(served.pids() - first)), lambda seen: seen == (2, 1))
        children = served.pids()
        served.handle.send_signal(signal.SIGTERM)
        assert served.handle.wait() == 0
        assert not any(map(exists, children))


def test_parent_imports_no_torch() -> None:
    """It would take as much memory as a process that serves, and seconds before these are started."""
    program = "import sys, service.command, service.supervisor\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_processes_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with processes(tmp_path) as served:
        children = served.pids()
        os.kill(served.handle.pid, signal.SIGKILL)
        wait_for(lambda: [pid for pid in children if exists(pid)], lambda left: not left)


def test_second_signal_kills_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A second SIGHUP does not: a terminal that is closed may send two."""
    with processes(tmp_path, "--shutdown-delay-seconds", "300") as served:
        children = served.pids()
        folder = shared_folder(min(children))
        assert folder.is_dir()
        for number in (signal.SIGHUP, signal.SIGHUP):
            served.handle.send_signal(number)
            with served.client() as client:
                wait_for(lambda: client.get("/readyz").status_code, lambda status: status == 503)
        assert served.pids() == children
        served.handle.send_signal(signal.SIGTERM)
        assert served.handle.wait() == 128 + signal.SIGTERM
        assert not any(map(exists, children))
        assert not folder.exists()


def shared_folder(pid: int) -> Path:
    """What the processes share, by the command line of one of them."""
    membership = next(word for word in psutil.Process(pid).cmdline() if word.startswith("{"))
    return Membership.model_validate_json(membership).folder


def test_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert supervise(settings(tmp_path, processes=2, port=port), ()) == 1
    assert f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n" in capsys.readouterr().err


class Programs:
    """Shell programs instead of serving processes: one after the other, by their numbers; then the last again."""

    def __init__(self, programs: Sequence[Sequence[str]]) -> None:
        self.started = [0] * len(programs)
        self._programs = programs

    async def start(self, index: int) -> asyncio.subprocess.Process:
        programs = self._programs[index]
        program = programs[min(self.started[index], len(programs) - 1)]
        self.started[index] += 1
        if program == NO_MEMORY:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return await asyncio.create_subprocess_exec("sh", "-c", program)


NO_MEMORY = "no memory"
STAYS = "trap 'exit 0' TERM; while :; do sleep 0.01; done"


async def supervised(programs: Programs, signalled_when: tuple[int, ...]) -> int:
    """The exit status of a supervisor, which is told to stop when so many processes have been started."""
    running = asyncio.create_task(Supervisor(programs, len(signalled_when)).run())
    while not running.done():
        if tuple(programs.started) == signalled_when:
            await asyncio.sleep(0.1)  # the last one sets its trap
            os.kill(os.getpid(), signal.SIGTERM)
            break
        await asyncio.sleep(0.01)
    return await running


@pytest.fixture
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LEAST_WAIT", 0.001)
    monkeypatch.setattr(supervisor, "MOST_WAIT", 0.002)


@pytest.mark.usefixtures("_no_wait")
def test_process_that_ends_is_started_again_alone(caplog: pytest.LogCaptureFixture) -> None:
    programs = Programs([[STAYS], ["exit 1", "kill -9 $$", STAYS]])
    assert asyncio.run(supervised(programs, (1, 3))) == 0
    assert "process 1 has ended with status 1" in caplog.text
    assert "process 1 has ended with status -9" in caplog.text
    assert "process 0" not in caplog.text


def test_process_that_refuses_its_settings_ends_all() -> None:
    programs = Programs([[STAYS], ["exit 2"]])
    assert asyncio.run(supervised(programs, (9, 9))) == 2
    assert programs.started == [1, 1]


@pytest.mark.usefixtures("_no_wait")
def test_process_that_cannot_start_again_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """Where a store or the memory for a process is missing for a while, say: the others serve on."""
    programs = Programs([[STAYS], ["exit 1", "exit 2", NO_MEMORY, STAYS]])
    assert asyncio.run(supervised(programs, (1, 4))) == 0
    assert "process 1 has ended with status 2" in caplog.text
    assert "process 1 cannot be started" in caplog.text


def test_waits_grow_until_a_process_lasts(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(supervisor, "LEAST_WAIT", 0.01)
    monkeypatch.setattr(supervisor, "MOST_WAIT", 0.5)
    begins_and_ends = iter([0.0, 0.4, 1.0, 1.4, 2.0, 2.6, 3.0])  # the third lasts longer than MOST_WAIT
    monkeypatch.setattr(supervisor, "monotonic", begins_and_ends.__next__)
    programs = Programs([["exit 1", "exit 1", "exit 3", STAYS]])
    assert asyncio.run(supervised(programs, (4,))) == 0
    assert [record.args for record in caplog.records] == [(0, 1, 0.01), (0, 1, 0.02), (0, 3, 0.01)]
