import base64
from pathlib import Path
from typing import Any

from tests.service.full import STYLE
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import held, publish, publish_upscaler, serving, serving_clients


def test_output_is_charged_not_the_bytes_of_the_body(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="", scraper='rights = ["metrics"]')
    publish_upscaler(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path) as live:
        live.client.headers.update(sent["scraper"])
        described = {"task": "upscale", "scale": 4, "width": 96, "height": 96}
        estimate = live.client.post("/v1/estimate", headers=sent["shop"], json=described).json()
        image = file(photo(height=96, width=96))
        assert live.client.post("/v1/upscale/4", headers=sent["shop"], content=image).status_code == 200
        assert live.metric("pastiche_key_pixels_total", key="shop") == estimate["pixels"] == 96 * 96 * 16


def test_job_is_charged_once_however_often_it_is_put(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="", scraper='rights = ["metrics"]')
    publish(tmp_path / "models")
    content = file(photo())
    with serving(tmp_path / "models", keys_file=path) as live:
        live.client.headers.update(sent["scraper"])
        puts = [live.client.put("/v1/jobs/mine?style=wave", headers=sent["shop"], content=content) for _ in range(3)]
        assert [put.status_code for put in puts] == [201, 200, 200]
        assert live.metric("pastiche_key_pixels_total", key="shop") == photo().shape[0] * photo().shape[1]


def test_what_is_refused_before_admission_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="megapixels_per_minute = 0.00001", scraper='rights = ["metrics"]')
    publish(tmp_path / "models")
    with serving_clients(tmp_path / "models", keys_file=path, max_pixels=10_000) as live:
        large = file(photo(height=200, width=200))
        for content, status in ((large, 422), (b"no image", 415), (b"", 400)):
            assert live.client.post(STYLE, headers=sent["shop"], content=content).status_code == status
        assert live.client.post(STYLE, headers=sent["shop"], content=file(photo())).status_code == 200
        refused = live.client.post(STYLE, headers=sent["shop"], content=b"not even read")
        assert refused.status_code == 429
        job = live.client.put("/v1/jobs/mine?style=wave", headers=sent["shop"], content=file(photo()))
        edit = live.client.post("/v1/images/edits", headers=sent["shop"], files={"image": b""}, data={"model": "wave"})
        assert job.status_code == edit.status_code == 429
        assert edit.json()["error"]["code"] == "quota-exceeded"


def batch(count: int) -> dict[str, Any]:
    """A request for an inference of so many images."""
    files = [base64.b64encode(file(photo(seed))).decode() for seed in range(count)]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [count], "data": files}]}


def test_images_of_one_call_are_charged_together(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="megapixels_per_minute = 0.0001", scraper='rights = ["metrics"]')
    publish(tmp_path / "models")
    with serving_clients(tmp_path / "models", keys_file=path) as live:
        live.client.headers.update(sent["scraper"])
        infer = "/v2/models/wave/infer"
        assert live.client.post(infer, headers=sent["shop"], json=batch(3)).status_code == 200
        assert live.metric("pastiche_key_pixels_total", key="shop") == 3 * photo().shape[0] * photo().shape[1]
        assert live.client.post(infer, headers=sent["shop"], json=batch(1)).status_code == 429


def test_images_beside_one_that_is_refused_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="megapixels_per_minute = 0.1")
    publish(tmp_path / "models")
    with serving_clients(tmp_path / "models", keys_file=path, max_queue_requests=2) as live, held(live):
        refused = live.client.post("/v2/models/wave/infer", headers=sent["shop"], json=batch(3))
        assert refused.status_code == 503
        assert '"pixels";r=100000;' in refused.headers["RateLimit"]


def test_job_whose_id_or_key_is_that_of_another_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="megapixels_per_minute = 0.1")
    publish(tmp_path / "models")
    small, large = file(photo()), file(photo(height=1000, width=1000))
    with serving(tmp_path / "models", keys_file=path) as live:
        by_key = sent["shop"] | {"Prefer": "respond-async", "Idempotency-Key": "mine"}
        assert live.client.put("/v1/jobs/mine?style=wave", headers=sent["shop"], content=small).status_code == 201
        assert live.client.post(STYLE, headers=by_key, content=small).status_code == 202
        assert live.client.put("/v1/jobs/mine?style=wave", headers=sent["shop"], content=large).status_code == 409
        assert live.client.post(STYLE, headers=by_key, content=large).status_code == 422
        assert live.client.put("/v1/jobs/other?style=wave", headers=sent["shop"], content=small).status_code == 201
