"""Two replicas of the service on one store, behind nginx: what `soak` does its harm to."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks import servers
from benchmarks.errors import BenchmarkError
from benchmarks.servers import Server

WORKER = "service.imaging.workers.fork_server"
"""In the command line of the process whose children are codec workers."""

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream replicas {{ {upstreams} }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 64m;
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering on;
            proxy_buffering off;
            proxy_connect_timeout 1s;
            proxy_read_timeout 600s;
            proxy_next_upstream error timeout;  # a request that was sent is not sent again: it is no GET
        }}
    }}
}}
"""


class Replica:
    """A service that can be ended and started again on the same port, with its jobs."""

    def __init__(self, name: str, store: Path, folder: Path, port: int) -> None:
        self.name = name
        self.jobs_folder = folder / f"{name}-jobs"
        self._log = folder / f"{name}.log"
        spec = servers.ours(store)
        settings = {**spec.settings, "PASTICHE_JOBS_FOLDER": str(self.jobs_folder)}
        self._spec = replace(spec, settings=settings)
        self.server = Server(self._spec, self._log, port)

    def restart(self) -> int:
        """End the service as an orchestrator does, and start it again. Returns the exit status of the first."""
        status = self.server.drain()
        self.server = Server(self._spec, self._log, self.server.port)
        self.server.wait_until_ready()
        return status

    def worker_pids(self) -> list[int]:
        """The codec workers."""
        children = psutil.Process(self.server.pid).children(recursive=True)
        forkers = [child.pid for child in children if WORKER in " ".join(child.cmdline())]
        return [child.pid for child in children if child.ppid() in forkers]

    def kill_worker(self) -> None:
        """Kill one codec worker, if there is any."""
        for pid in self.worker_pids()[:1]:
            os.kill(pid, signal.SIGKILL)


@contextmanager
def running(store: Path, folder: Path, count: int = 2) -> Iterator[tuple[list[Replica], int]]:
    """The replicas and the port of nginx, which are stopped at the end of the block.

    Raises BenchmarkError where nginx is not installed.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise BenchmarkError("nginx is not installed")
    with ExitStack() as stack:
        ports = [stack.enter_context(servers.reserved_port()) for _ in range(count)]
        replicas = [Replica(f"replica-{number}", store, folder, port) for number, port in enumerate(ports)]
        for replica in replicas:
            stack.callback(lambda each: each.server.stop(), replica)
        for replica in replicas:
            replica.server.wait_until_ready()
        port = stack.enter_context(servers.reserved_port())
        stack.enter_context(_nginx(program, replicas, folder, port))
        yield replicas, port


@contextmanager
def _nginx(program: str, replicas: list[Replica], folder: Path, port: int) -> Iterator[None]:
    # A replica that restarts refuses connections for some seconds: it is tried again after one.
    upstreams = " ".join(f"server 127.0.0.1:{each.server.port} max_fails=1 fail_timeout=1s;" for each in replicas)
    path = folder / "nginx.conf"
    path.write_text(CONFIGURATION.format(folder=folder, upstreams=upstreams, port=port))
    with subprocess.Popen([program, "-c", path, "-p", folder], stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_open(port)
            yield
        finally:
            process.terminate()


def _wait_until_open(port: int) -> None:
    """Raises ConnectionError where nobody listens within START_SECONDS."""
    end = time.monotonic() + servers.START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
