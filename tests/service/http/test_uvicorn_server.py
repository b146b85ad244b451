import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.app import build_service
from service.http.uvicorn_server import build_server
from tests.service.full import STYLE
from tests.service.imaging.images import file, photo
from tests.service.live import held, publish, serving, settings, wait_for


def test_port_in_use_ends_the_server_with_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = settings(tmp_path, port=taken.getsockname()[1])
        service = build_service(chosen)
        server = build_server(service.app, chosen, service.metrics)
        asyncio.run(server.serve())
    assert not server.started
    assert "address already in use" in caplog.text


def test_load_shedding_can_be_switched_off(tmp_path: Path) -> None:
    chosen = settings(tmp_path, load_shedding=False)
    service = build_service(chosen)
    assert service.shedder is None


def test_full_service_refuses_and_remembers_nothing_without_load_shedding(tmp_path: Path) -> None:
    publish(tmp_path)
    with (
        serving(tmp_path, load_shedding=False, max_queue_requests=1) as live,
        ThreadPoolExecutor(1) as clients,
        held(live),
    ):
        first = clients.submit(httpx.post, f"{live.url}{STYLE}", content=file(photo()), timeout=60)
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
        for _ in range(2):
            assert live.client.post(STYLE, content=file(photo())).status_code == 503
        assert not live.service.refusals
        assert not first.done()
