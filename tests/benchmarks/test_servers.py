"""Servers as processes, with a server of a few lines in the place of the real ones."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from psutil import Process

from benchmarks import processes, servers
from benchmarks.errors import BenchmarkError
from benchmarks.servers import LONG_TIMEOUT, SERVER_SPECS, Server, ServerSpec

PROGRAM = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METRICS = b'''# TYPE seconds_sum counter
seconds_sum{stage="read",kind="a"} 1.5
seconds_sum{stage="read",kind="b"} 2.0
seconds_sum{stage="infer"} 4.0
seconds_sums 100.0
busy 0.25
'''

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, {"/metrics": METRICS, "/readyz": b"ready"}[self.path])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(400 if self.path == "/wrong" else 200, self.headers["X-Request-Timeout"].encode() + b" " + body)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

SPEC = ServerSpec("small", (sys.executable, "-c", PROGRAM, "{port}"), "/readyz", "/picture")


def statuses(server: Server) -> set[str]:
    return {member.status() for member in processes.process_tree(server.pid)}


def has_ended(process: Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_server_answers_while_it_runs_and_leaves_no_process(tmp_path: Path) -> None:
    with servers.running(SPEC) as server:
        members = processes.process_tree(server.pid)
        assert server.get("/readyz") == (200, "ready")
        assert server.post(servers.request(SPEC, b"photo", tmp_path)) == b"600 photo"
        assert server.memory().rss > 5
        assert server.cpu_seconds() > 0
    assert len(members) == 2
    wait_for(lambda: all(has_ended(member) for member in members))


def test_answer_without_success_is_an_error(tmp_path: Path) -> None:
    sent = servers.request(replace(SPEC, path="/wrong"), b"photo", tmp_path)
    with servers.running(SPEC) as server, pytest.raises(RuntimeError, match="small answered 400: 600 photo"):
        server.post(sent)


def test_metric_is_the_sum_of_its_samples() -> None:
    with servers.running(SPEC) as server:
        assert server.metric("seconds_sum") == 7.5
        assert server.metric("seconds_sum", 'stage="read"') == 3.5
        assert server.metric("busy") == 0.25
        assert server.metric("idle") is None


def test_servers_are_suspended_but_for_the_block_of_awake() -> None:
    with servers.all_running([SPEC]) as found:
        server = found["small"]
        wait_for(lambda: statuses(server) == {psutil.STATUS_STOPPED})
        with server.resumed():
            assert server.get("/readyz") == (200, "ready")
            assert psutil.STATUS_STOPPED not in statuses(server)
        wait_for(lambda: statuses(server) == {psutil.STATUS_STOPPED})


def test_a_server_without_its_package_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    with servers.all_running([replace(SPEC, needs="no-such-distribution")]) as found:
        assert found == {}
    assert "small is skipped: no-such-distribution is not installed" in capsys.readouterr().out
    assert replace(SPEC, needs="torch").missing is None


def test_a_server_that_ends_at_its_start_is_an_error_with_its_log() -> None:
    failing = replace(SPEC, command=(sys.executable, "-c", "raise SystemExit('no store')"))
    with pytest.raises(RuntimeError, match="small did not start:\nno store"), servers.running(failing):
        pass


def end(server: Server) -> None:
    """Its main thread is a zombie before it has ended: other threads may still be there."""
    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def end_and_ask(server: Server) -> None:
    end(server)
    server.metric("busy")


def fail_while_it_ends(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)
    raise ConnectionResetError


@pytest.mark.parametrize("use", [end, end_and_ask, fail_while_it_ends])
def test_a_server_that_ends_in_the_middle_is_an_error_with_its_log(use: Callable[[Server], None]) -> None:
    alone = PROGRAM.replace("child = ", "print('all is well', flush=True)  # ")
    dying = replace(SPEC, command=(sys.executable, "-c", alone, "{port}"))
    with (
        pytest.raises(BenchmarkError, match="small has ended, with status -9:\nall is well"),
        servers.running(dying) as server,
    ):
        use(server)


def test_settings_are_variables_of_its_environment() -> None:
    program = "import os, sys; sys.exit(os.environ['PASTICHE_BENCHMARKS_OTHER'] + str('{port}'.isdigit()))"
    spec = replace(SPEC, command=(sys.executable, "-c", program), settings={"PASTICHE_BENCHMARKS_OTHER": "set"})
    with pytest.raises(RuntimeError, match="setTrue"), servers.running(spec):
        pass


def test_requests_have_the_photo_as_their_body_or_in_a_form(tmp_path: Path) -> None:
    raw = servers.request(SPEC, b"photo", tmp_path)
    form = servers.request(replace(SPEC, form=True), b"photo", tmp_path, {})
    assert (Path(raw.body).read_bytes(), raw.headers) == (b"photo", {"Content-Type": "image/jpeg", **LONG_TIMEOUT})
    assert raw.body != form.body
    assert form.headers == {"Content-Type": f"multipart/form-data; boundary={servers.BOUNDARY}"}
    assert b"\r\n\r\nphoto\r\n" in Path(form.body).read_bytes()


def test_every_server_spec_has_the_name_of_its_key(tmp_path: Path) -> None:
    specs = {name: make(tmp_path) for name, make in SERVER_SPECS.items()}
    assert {name: spec.name for name, spec in specs.items()} == {name: name for name in SERVER_SPECS}
    assert all("{port}" in spec.command for spec in specs.values())
    assert [name for name, spec in specs.items() if spec.allocator] == ["litserve-allocator"]
