"""docker/nginx.conf: the service under a prefix, behind a real nginx."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from benchmarks.servers import reserved_port
from service.settings import Settings
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, publish, serving, wait_for

ROOT = Path(__file__).parents[2]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx")


@contextmanager
def proxy(live: Live, folder: Path) -> Iterator[httpx.Client]:
    """nginx with the server block of docker/nginx.conf, in front of a service; yields a client of it."""
    assert NGINX is not None
    with reserved_port() as port:
        server = (ROOT / "docker" / "nginx.conf").read_text()
        server = server.replace("http://pastiche:8000", live.url).replace("listen 8080", f"listen 127.0.0.1:{port}")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        main = (
            f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {folders} {server} }}"
        )
        (folder / "nginx.conf").write_text(main)
        handle = subprocess.Popen([NGINX, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")])
        try:
            elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")  # 127.0.0.1 is the proxy's
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, transport=elsewhere) as client:
                wait_for(lambda: _status(client), lambda status: status == 200)
                yield client
        finally:
            handle.terminate()
            handle.wait(PATIENCE)


def _status(client: httpx.Client) -> int:
    try:
        return client.get("/pastiche/livez").status_code
    except httpx.TransportError:
        return 0


def seconds(directive: str) -> float:
    """The value of a directive of docker/nginx.conf."""
    found = re.search(rf"^ +{directive} (\d+)s;", (ROOT / "docker" / "nginx.conf").read_text(), re.MULTILINE)
    assert found, f"there is no {directive}"
    return float(found[1])


def test_limits_are_those_of_the_service() -> None:
    settings = Settings()
    assert f"client_max_body_size {settings.max_body_bytes // 2**20}m;" in (ROOT / "docker" / "nginx.conf").read_text()
    assert seconds("client_header_timeout") >= settings.header_seconds
    assert seconds("proxy_send_timeout") >= settings.max_request_timeout
    assert seconds("proxy_read_timeout") > settings.max_request_timeout


def test_links_lead_back_through_the_proxy(tmp_path: Path) -> None:
    publish(tmp_path / "models", preview=file(photo()))
    folder = tmp_path / "nginx"
    folder.mkdir()
    with serving(tmp_path / "models") as live, proxy(live, folder) as client:
        for path in ("/pastiche/", "/pastiche/v1/models/", "/pastiche/v1/models"):
            assert client.get(path).status_code == 200
        preview = client.get("/pastiche/v1/models").json()["models"][0]["preview"]
        assert client.get(preview).headers["Content-Type"] == "image/png"
        page = client.get("/pastiche/docs").text
        links = re.findall(r"""(?:src|href)=["']([^"']+)|url: '([^']+)'""", page)
        assert len(links) >= 4
        assert {client.get(one or other).status_code for one, other in links} == {200}
        assert client.get("/pastiche/openapi.json").json()["servers"] == [{"url": "/pastiche"}]
        missing = client.get("/pastiche/v1/models/none")
        kind = client.get(missing.json()["type"])
        assert (missing.status_code, kind.status_code, kind.json()["type"]) == (404, 200, missing.json()["type"])
        job = client.put("/pastiche/v1/jobs/mine?style=wave", content=file(photo()))
        assert job.status_code == 201
        done = wait_for(lambda: client.get(job.headers["Location"]), lambda answer: answer.json()["finished"])
        assert done.json()["state"] == "succeeded"
        assert client.get(f"{job.headers['Location']}/result").status_code == 200
        metrics = ("metrics", "metrics/", "metrics//", "/metrics", "%6detrics/", "x/../metrics/")
        assert {client.get(f"/pastiche/{path}").status_code for path in metrics} == {404}
        edit = client.post("/pastiche/v1/images/edits", files={"image": b"none"}, data={"model": "wave"})
        assert edit.json()["error"]["type"] == "invalid_request_error"


def test_connection_outlasts_an_answer_that_comes_before_the_body(tmp_path: Path) -> None:
    """nginx says keep-alive, and then closes, where it has an answer before it has read the body."""
    publish(tmp_path / "models")
    folder = tmp_path / "nginx"
    folder.mkdir()
    body = file(photo())
    with serving(tmp_path / "models") as live, proxy(live, folder) as client:
        connection = HTTPConnection(client.base_url.host, client.base_url.port, timeout=PATIENCE)
        for _ in range(3):
            connection.putrequest("POST", "/pastiche/v1/stylize/cats")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            time.sleep(0.1)  # the service refuses by the head alone
            connection.send(body)
            answer = connection.getresponse()
            assert (answer.status, b"unknown-model" in answer.read()) == (404, True)
        connection.close()


def test_address_is_the_clients_whatever_it_claims(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    folder = tmp_path / "nginx"
    folder.mkdir()
    with serving(tmp_path / "models", address_requests_per_minute=1) as live, proxy(live, folder) as client:
        claims = ({"X-Forwarded-For": f"192.0.2.{n}", "X-Forwarded-Prefix": "/evil"} for n in range(2))
        answers = [client.get("/pastiche/v1/models/none", headers=sent) for sent in claims]
    assert [answer.status_code for answer in answers] == [404, 429]
    assert answers[0].json()["type"] == "/pastiche/problems/unknown-model"
