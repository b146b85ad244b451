import re
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.app import build_service
from service.http.problems import PROBLEM_MEDIA_TYPE
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, publish, serving, settings, wait_for


def test_applications_are_built_without_doing_anything(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert isinstance(build_service(settings(absent)).app, FastAPI)
    assert not absent.exists()


def test_device_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cuda:99 does not exist"):
        build_service(settings(tmp_path, device="cuda:99"))


def test_openvino_by_name_needs_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match="cpu_engine needs OpenVINO: pip install"):
        build_service(settings(tmp_path, cpu_engine="openvino"))
    build_service(settings(tmp_path, cpu_engine="auto"))


def test_services_in_one_process_do_not_know_each_other(tmp_path: Path) -> None:
    publish(tmp_path / "one", "wave")
    publish(tmp_path / "two", "night")
    with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two:
        assert one.client.post("/v1/stylize/wave", content=file(photo())).status_code == 200
        assert two.client.post("/v1/stylize/wave", content=file(photo())).status_code == 404
        assert two.client.post("/v1/stylize/night", content=file(photo())).status_code == 200
        assert one.metric("pastiche_batch_size_count") == two.metric("pastiche_batch_size_count") == 1


def test_batch_goes_on_to_its_end_when_the_scheduler_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread reads weights, which leave for others as soon as nobody keeps them."""
    publish(tmp_path)
    began, may_end = threading.Event(), threading.Event()

    def run(*_: object) -> None:
        began.set()
        may_end.wait(PATIENCE)

    with serving(tmp_path) as live, ThreadPoolExecutor(1) as client:
        monkeypatch.setattr(live.service.pool.runners[0], "run", run)
        answer = client.submit(live.client.post, "/v1/stylize/wave", content=file(photo()))
        assert began.wait(PATIENCE)
        scheduler = live.service.lifespan.tasks[0]
        scheduler.get_loop().call_soon_threadsafe(scheduler.cancel)
        assert answer.result().status_code == 503
        assert not scheduler.done()
        may_end.set()
        wait_for(scheduler.done, bool)


def test_image_beyond_pillows_own_guard_is_refused_by_ours(tmp_path: Path) -> None:
    """Pillow raises from 179 megapixels on, without a header to speak of."""
    publish(tmp_path)
    header = bytearray(file(photo()))
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with serving(tmp_path) as live:
        answer = live.client.post("/v1/stylize/wave", content=bytes(header))
    assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
    assert (answer.status_code, answer.json()["actual"]) == (422, 400_000_000)


def test_trace_of_the_client_goes_on_in_the_answer(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        sent = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1"}
        answer = live.client.get("/v1/models", headers=sent)
        assert answer.headers["traceparent"][:36] == sent["traceparent"][:36]
        assert answer.headers["traceparent"][36:52] != sent["traceparent"][36:52]
        assert answer.headers["tracestate"] == "a=1"
        assert "traceparent" not in live.client.get("/v1/models").headers


def test_head_and_a_slash_at_the_end_are_understood(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        for path in ("/v1/models", "/livez", "/problems/overloaded", "/docs", "/v1/models/wave"):
            head, whole = live.client.head(path), live.client.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["Content-Length"] == str(len(whole.content))
        assert live.client.get("/v1/models/").json() == live.client.get("/v1/models").json()
        assert live.client.post("/v1/stylize/wave/", content=file(photo())).status_code == 200
        assert live.metric("pastiche_http_requests_total", route="/v1/models", method="HEAD") == 1
        refused = live.client.post("/v1/models")
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_documentation_asks_nobody_else(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        page = live.client.get("/docs").text
        scripts = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
        assert len(scripts) >= 2
        for script in scripts:
            assert script.startswith("/")
            assert live.client.get(script).status_code == 200
        assert "//" not in re.sub(r"<!--.*?-->", "", page).replace(live.url, "")


def test_parameters_that_a_path_does_not_know_are_refused_with_those_it_knows(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.post("/v1/stylize/wave?qualty=80&format=png", content=file(photo()))
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
        assert "query.qualty: no such parameter" in answer.json()["detail"]
        assert {"format", "priority", "quality"} <= set(answer.json()["known"])
        assert "knows none" in live.client.get("/v1/models?page=2").json()["detail"]


def test_job_store_that_needs_what_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = "redis://127.0.0.1/0"
    with pytest.raises(ValueError, match="job_results_url: nowhere://bucket is no store"):
        build_service(settings(tmp_path, jobs_url=redis, job_results_url="nowhere://bucket"))
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "service.jobs.redis_store", raising=False)
    with pytest.raises(ValueError, match=re.escape("jobs_url needs redis-py: pip install 'pastiche[redis]'")):
        build_service(settings(tmp_path, jobs_url=redis))
