"""What `pastiche-serve` listens on: TLS, a Unix socket, a port of their own for probes and metrics."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path

import httpx
import pytest

from service.__main__ import main
from service.http.uvicorn_server import CHECK_SECONDS
from tests.processes import Command, command
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, publish, wait_for

OPENSSL = shutil.which("openssl")
PASSWORD = "not empty"

get = partial(httpx.get, timeout=PATIENCE)


def over_socket(path: Path) -> httpx.Client:
    return httpx.Client(base_url="http://pastiche", transport=httpx.HTTPTransport(uds=str(path)), timeout=PATIENCE)


@contextmanager
def listening(root: Path, *options: str, count: int = 1) -> Iterator[list[str]]:
    """A service with these options; yields what it says that it listens on, as many times as it does."""
    arguments = ["--stores", str(root), "--port", "0", "--device", "cpu", "--precision", "fp32", "--threads", "1"]
    arguments += ["--jobs-folder", str(root.parent / f"{root.name}-jobs")]
    with command(main, *arguments, *options) as handle:
        lines = iter(handle.stderr.readline, "")
        found = (re.search(r"running on (https?://\S+|unix socket \S+)", line) for line in lines)
        yield [match[1] for match in islice(filter(None, found), count)]


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
def test_service_speaks_tls(tmp_path: Path) -> None:
    assert OPENSSL is not None
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = ["-newkey", "rsa:2048", "-keyout", str(key), "-out", str(certificate), "-passout", f"pass:{PASSWORD}"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([OPENSSL, "req", "-x509", "-days", "1", *made, *named], check=True, capture_output=True)
    publish(tmp_path / "models")
    options = ["--tls-certificate", str(certificate), "--tls-key", str(key), "--tls-key-password"]
    with listening(tmp_path / "models", *options, PASSWORD) as (url,):
        assert url.startswith("https://")
        trusted = ssl.create_default_context(cafile=certificate)
        with httpx.Client(base_url=url, verify=trusted, timeout=PATIENCE) as client:
            wait_for(lambda: client.get("/readyz").status_code, lambda status: status == 200)
            assert client.post("/v1/stylize/wave", content=file(photo()), timeout=PATIENCE).status_code == 200
    other = tmp_path / "other.pem"
    other.write_text("no certificate")
    for given, told in (
        (["--tls-key-password", "wrong"], "is another one's"),
        ([], "needs tls_key_password"),
        (["--tls-key-password", PASSWORD, "--tls-certificate", str(other)], "tls_certificate holds no certificate"),
    ):
        with command(main, "--port", "0", "--device", "cpu", *options[:-1], *given) as done:
            written = done.stderr.read()
            assert (done.wait(), written.count("\n")) == (2, 1)
            assert written.startswith("error: ")
            assert told in written


def test_service_listens_on_a_unix_socket(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    path = tmp_path / "socket"
    with (
        listening(tmp_path / "models", "--uds", str(path), "--address-requests-per-minute", "1") as (where,),
        over_socket(path) as client,
    ):
        assert where == f"unix socket {path}"
        wait_for(lambda: client.get("/readyz").status_code, lambda status: status == 200)
        for address in ("192.0.2.1", "192.0.2.2"):  # the proxy at the other end of the socket is believed
            named = {"X-Forwarded-For": address}
            assert [client.get("/v1/models", headers=named).status_code for _ in range(2)] == [200, 429]


@contextmanager
def on_socket(root: Path, path: Path) -> Iterator[tuple[Command, httpx.Client]]:
    """A service on a Unix socket, and a client of it; told to stop it goes on for a minute."""
    options = ["--stores", str(root / "models"), "--jobs-folder", str(root / "jobs"), "--device", "cpu"]
    options += ["--precision", "fp32", "--threads", "1", "--shutdown-delay-seconds", "60"]
    with command(main, "--uds", str(path), *options) as handle:
        next(line for line in iter(handle.stderr.readline, "") if "running on unix socket" in line)
        with over_socket(path) as client:
            yield handle, client


def test_second_signal_leaves_no_unix_socket(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    with on_socket(tmp_path, tmp_path / "socket") as (handle, client):
        wait_for(lambda: client.get("/readyz").status_code, lambda status: status == 200)
        handle.send_signal(signal.SIGTERM)
        wait_for(lambda: client.get("/readyz").status_code, lambda status: status == 503)
        handle.send_signal(signal.SIGTERM)
        assert handle.wait() == 128 + signal.SIGTERM
    assert not (tmp_path / "socket").exists()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_unix_socket_on_which_a_service_listens_is_not_taken_and_one_that_was_left_is(
    tmp_path: Path, processes: str
) -> None:
    publish(tmp_path / "models")
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with on_socket(tmp_path, path) as (_, client):
        with command(main, "--uds", str(path), "--device", "cpu", "--processes", processes) as other:
            told = f"error: cannot listen on {path}: another process listens there\n"
            assert (other.stderr.read(), other.wait()) == (told, 1)
        assert client.get("/livez").status_code == 200


def test_settings_that_are_wrong_leave_no_unix_socket(tmp_path: Path) -> None:
    with command(main, "--uds", str(tmp_path / "socket"), "--device", "cuda:99") as handle:
        assert handle.wait() == 2
    assert not (tmp_path / "socket").exists()


def test_probes_and_metrics_have_a_port_of_their_own(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    with listening(tmp_path / "models", "--metrics-port", "0", "--allowed-hosts", "none.example", count=2) as urls:
        main, metrics = sorted(urls, key=lambda url: get(f"{url}/metrics").status_code == 200)
        wait_for(lambda: get(f"{main}/readyz").status_code, lambda status: status == 200)
        assert "pastiche_http_requests_total" in get(f"{metrics}/metrics").text
        assert [get(f"{metrics}/{probe}").status_code for probe in ("livez", "readyz")] == [200, 200]
        assert get(f"{metrics}/v1/models").status_code == 404
        host = {"Host": "none.example"}
        assert get(f"{main}/metrics", headers=host).status_code == 404
        assert get(f"{main}/v1/models", headers=host).status_code == 200
        assert get(f"{main}/v1/models").status_code == 421


def test_connections_to_the_port_of_the_metrics_stay_open_between_scrapes(tmp_path: Path) -> None:
    """They were closed at each check of all connections, in the middle of a scrape if need be."""
    publish(tmp_path / "models")
    with listening(tmp_path / "models", "--metrics-port", "0", count=2) as urls:
        metrics = next(url for url in urls if get(f"{url}/v1/models").status_code == 404)
        connection = HTTPConnection(metrics.removeprefix("http://"), timeout=PATIENCE)
        connection.connect()
        for _ in range(2):
            time.sleep(2 * CHECK_SECONDS)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert (answer.status, b"pastiche_http_requests_total" in answer.read()) == (200, True)
        connection.close()
