from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.service.imaging.images import file, photo
from tests.service.live import held, publish, serving, wait_for


def test_service_with_a_model_is_alive_and_ready(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        alive, ready = live.client.get("/livez"), live.client.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "ok", "problems": []})
    assert ready.status_code == 200
    assert ready.json() == {"status": "ok", "problems": [], "models": ["wave@1"], "failed": [], "warnings": []}
    assert ready.headers["Cache-Control"] == "no-store"


def test_service_without_a_model_is_alive_but_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        assert live.client.get("/livez").status_code == 200
        ready = live.client.get("/readyz")
        assert (ready.status_code, ready.json()["problems"]) == (503, ["no model is served"])
        publish(tmp_path)
        live.until("/readyz", lambda answer: answer.status_code == 200)


def test_file_in_a_store_that_is_no_model_is_named(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "RealESRGAN_x4plus.pth").touch()
    with serving(tmp_path) as live:
        ready = live.until("/readyz", lambda answer: bool(answer.json()["warnings"]))
        assert ready.status_code == 200
        (warning,) = ready.json()["warnings"]
        assert warning.startswith(f"in the store {tmp_path} 'RealESRGAN_x4plus.pth' is no model and ignored")
        assert live.metric("pastiche_store_ignored_entries", store=str(tmp_path)) == 1
        (tmp_path / "RealESRGAN_x4plus.pth").unlink()
        live.until("/readyz", lambda answer: not answer.json()["warnings"])


def test_service_that_stops_is_alive_but_not_ready(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        live.service.lifespan.stopping = True
        assert live.client.get("/livez").status_code == 200
        ready = live.client.get("/readyz")
    assert (ready.status_code, ready.json()["problems"]) == (503, ["the service is stopping"])


def test_device_that_hangs_is_a_dead_service(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, stall_seconds=0.2) as live:
        with held(live):
            dead = live.until("/livez", lambda answer: answer.status_code == 503)
            assert "one device operation has taken" in dead.json()["problems"][0]
            assert live.client.get("/readyz").status_code == 503
            assert live.metric("pastiche_device_operation_age_seconds") > 0.2
        live.until("/livez", lambda answer: answer.status_code == 200)


def test_lost_device_is_a_dead_service(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        live.service.pool.runners[0].lost = "the device is gone"
        answer = live.client.post("/v1/stylize/wave", content=file(photo()))
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/device-lost")
        dead = live.client.get("/livez")
        assert dead.status_code == 503
        assert dead.json()["problems"] == ["a background task has ended", "the device is gone"]
        wait_for(live.service.lifespan.broken.is_set, lambda broken: broken)


def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.get("/metrics")
        assert live.metric("pastiche_model_info", model="wave", version="1", task="style") == 1
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"pastiche_http_requests", "pastiche_build_info", "process_cpu_seconds"} <= names
